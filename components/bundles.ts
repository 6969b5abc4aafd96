import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BuildOptions } from "esbuild";
import { writeAtomically } from "../supervisor/files";
import { gatewayHome } from "./local/home";

/** One of the project's programs as one file that Node runs with nothing else installed. */
export interface Bundle {
    /** File name below the folder of bundles. */
    readonly file: string;
    readonly sha256: string;
}

/** The project's programs that run on machines, by name. */
export const programs = {
    supervisor: "supervisor/main.ts",
    "consul-acl": "roles/programs/consulAcl.ts",
    drain: "roles/programs/drain.ts",
    boot: "machine/boot.ts",
    "instance-watcher": "roles/programs/instanceWatcher.ts",
    reconciler: "roles/loadBalancer/reconciler/main.ts",
    "serf-members": "roles/programs/serf/members.ts",
    "gateway-sample": "gateway-sample/server/main.ts",
    replacer: "replacement/run.ts",
    "dynamic-provider": "components/dynamic/process.ts",
} as const;

/** The name of one of {@link programs}. */
export type ProgramName = keyof typeof programs;

/** The programs that only this computer runs. */
const LOCAL_ONLY: readonly ProgramName[] = ["supervisor"];

/** The programs that machines of a cloud run. */
export const cloudPrograms = (Object.keys(programs) as ProgramName[]).filter((name) => !LOCAL_ONLY.includes(name));

/** The name of a program's file where machines fetch it, and on the machine. */
export function programFile(name: ProgramName): string {
    // The engine finds it by this name.
    return name === "dynamic-provider" ? "pulumi-resource-pulumi-nodejs" : `${name}.cjs`;
}

/** Stands for what a program never uses, though what it uses imports it. */
const ABSENT = "./components/dynamic/absent.ts";

/** What Pulumi's SDK takes along to serialise functions, which this project does not. */
const COMPILER = { typescript: ABSENT, "ts-node": ABSENT, "@npmcli/arborist": ABSENT };

/** What a program is bundled with besides. */
const special: Partial<Record<ProgramName, BuildOptions>> = {
    // The program itself runs in it, for OpenStack: what other targets take, and what builds bundles, is left out.
    replacer: {
        // Programs that are imported for a constant of theirs would run: in one file each of them is the main module.
        define: { "require.main": "undefined" },
        alias: {
            // The configuration's schema knows the types of instances.
            "@pulumi/aws/types/enums/ec2": "./node_modules/@pulumi/aws/types/enums/ec2/index.js",
            "@pulumi/aws": ABSENT,
            ...COMPILER,
        },
    },
    "dynamic-provider": { alias: COMPILER, banner: { js: "#!/usr/bin/env node" } },
};

/** What is loaded only where there are sources. */
const NOT_BUNDLED = ["esbuild", "tsx", "tsx/*"];
/** @pulumi/consul has a file of that name in capitals too, which esbuild takes for it. */
const MISTAKEN = ["./license"];

/**
 * A program that runs from this project's sources, because it takes the whole project along: a checksum of its own
 * code and all that it imports from the project, so that a change of it is seen.
 *
 * @param file its path from the project's folder.
 */
export function projectProgram(file: string): Bundle {
    const text = build(file, { packages: "external" });
    return { file, sha256: createHash("sha256").update(text).digest("hex") };
}

function build(entryPoint: string, options: BuildOptions): string {
    // Not before it is needed: where bundles are only known by their checksums it is not there.
    const { buildSync } = require("esbuild") as typeof import("esbuild");
    const result = buildSync({
        absWorkingDir: gatewayHome().project,
        entryPoints: [entryPoint],
        bundle: true,
        platform: "node",
        target: "node20",
        format: "cjs",
        legalComments: "none",
        write: false,
        logLevel: "error",
        ...options,
    });
    return result.outputFiles?.[0]?.text ?? "";
}

const built = new Map<ProgramName, Bundle>();
let known: ((name: ProgramName) => Bundle | undefined) | undefined;

/** From now on bundles are only looked up, not built: on a machine there are no sources. Undefined: they are built again. */
export function useBundles(lookUp: ((name: ProgramName) => Bundle | undefined) | undefined): void {
    known = lookUp;
}

/**
 * Bundles a program. The file's name holds its content's checksum, so that the same source always gives the same
 * bundle, and a machine goes on running the one it was made with.
 */
export function bundle(name: ProgramName): Bundle {
    if (known) {
        const found = known(name);
        if (!found) throw new Error(`the deployment knows no program ${name}`);
        return found;
    }
    const home = gatewayHome();
    const earlier = built.get(name);
    if (earlier && existsSync(join(home.bundles, earlier.file))) return earlier;
    const text = build(programs[name], { external: [...NOT_BUNDLED, ...MISTAKEN], ...special[name] });
    const sha256 = createHash("sha256").update(text).digest("hex");
    const made: Bundle = { file: `${name}-${sha256.slice(0, 16)}.cjs`, sha256 };
    const path = join(home.bundles, made.file);
    if (!existsSync(path)) writeAtomically(path, text, 0o644, false);
    built.set(name, made);
    return made;
}

/** Every program that machines of a cloud run. */
export function allBundles(): Record<string, Bundle> {
    return Object.fromEntries(cloudPrograms.map((name) => [name, bundle(name)]));
}
