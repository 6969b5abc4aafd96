import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { BuildOptions } from "esbuild";
import { writeAtomically } from "../lib/files";
import { gatewayHome } from "../lib/home";
import { deployed, deployedEnvironment } from "./deployed";
import { bundleTarget } from "./node";

/** One of the project's programs as one file that Node runs with nothing else installed. */
export interface Bundle {
    /** File name below the folder of bundles. */
    readonly file: string;
    readonly sha256: string;
}

/** The project's programs that run on machines, by name. */
export const programs = {
    supervisor: "programs/supervisor/main.ts",
    "consul-acl": "programs/consul-acl/main.ts",
    drain: "programs/drain/main.ts",
    boot: "programs/boot/main.ts",
    "instance-watcher": "programs/instance-watcher/main.ts",
    reconciler: "programs/reconciler/main.ts",
    "serf-members": "programs/serf-members/main.ts",
    "gateway-sample": "gateway-sample/server/main.ts",
    replacer: "loop.ts",
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
const ABSENT = "./toolchain/absentModule.ts";

/** What Pulumi's SDK takes along to serialise functions, which this project does not. */
const COMPILER = { typescript: ABSENT, "ts-node": ABSENT, "@npmcli/arborist": ABSENT };

/** What a program is bundled with besides. */
const special: Partial<Record<ProgramName, BuildOptions>> = {
    // The program itself runs in it, for OpenStack: what other targets take, and what builds bundles, is left out.
    replacer: {
        // Programs that are imported for a constant of theirs would run: in one file each of them is the main module.
        define: { "require.main": "undefined" },
        footer: { js: "module.exports.main();" },
        alias: {
            // The configuration's schema knows the types of instances.
            "@pulumi/aws/types/enums/ec2": "./node_modules/@pulumi/aws/types/enums/ec2/index.js",
            "@pulumi/aws": ABSENT,
            "@pulumi/random": ABSENT,
            ...COMPILER,
        },
    },
    "dynamic-provider": { alias: COMPILER, banner: { js: "#!/usr/bin/env node" } },
};

/** What is loaded only where there are sources. */
const NOT_BUNDLED = ["esbuild", "tsx", "tsx/*"];
/** @pulumi/consul has a file of that name in capitals too, which esbuild takes for it. */
const MISTAKEN = ["./license"];

/** The process of Pulumi's dynamic provider for the engine of this computer's loop, and the name by which the engine finds it. */
const PROVIDER = { entry: "components/dynamic/processHere.ts", file: "pulumi-resource-pulumi-nodejs" };

/** Programs that only a loop on a machine of OpenStack needs. They are large. */
const OF_CLOUD_LOOP: readonly ProgramName[] = ["replacer", "dynamic-provider"];

/** The global function that loads packages for the compiled loop; see {@link SourceBundles.loopProgram}. */
export const packageLoader = "gatewayRequire";

/** Where this project's sources are, whichever program imports them. */
const SOURCES = resolve(__dirname, "..");

/** The file of a Pulumi program, in its folder, that runs the replacement loop on it. */
const LOOP = "loop.ts";

/** What was built by this process, by entry point: a build takes up to seconds, and sources do not change under a process. */
const cache = new Map<string, Bundle>();

/** The project's programs, built from its sources. */
export class SourceBundles {
    /**
     * @param program folder of the Pulumi program that is deployed: what runs the replacement loop is its own. Default: this
     *        project's.
     */
    constructor(private readonly program = SOURCES) {}

    /**
     * Bundles a program. The file's name holds its content's checksum, so that the same source always gives the same
     * bundle, and a machine goes on running the one it was made with. In a program that runs as it was deployed, the bundle
     * is the deployed one.
     */
    bundle(name: ProgramName): Bundle {
        const known = deployed("bundles")?.[name];
        if (known) return known;
        const entry = name === "replacer" ? this.loop : join(SOURCES, programs[name]);
        const home = gatewayHome();
        const earlier = cache.get(entry);
        if (earlier && existsSync(join(home.bundles, earlier.file))) return earlier;
        const text = build(entry, { external: [...NOT_BUNDLED, ...MISTAKEN], ...special[name] });
        const sha256 = createHash("sha256").update(text).digest("hex");
        const made: Bundle = { file: `${name}-${sha256.slice(0, 16)}.cjs`, sha256 };
        keep(made, () => text);
        cache.set(entry, made);
        return made;
    }

    /** Every program that machines of a cloud run. */
    all(): Record<string, Bundle> {
        return Object.fromEntries(cloudPrograms.map((name) => [name, this.bundle(name)]));
    }

    /**
     * The replacement loop as it runs on this computer: compiled once for each version, with the files of all programs that
     * it deploys. Its packages stay where they are installed, because the program may use any of them. The launcher gives
     * the function {@link packageLoader} that loads them.
     *
     * @throws Error when the program has none.
     */
    loopProgram(): Bundle {
        const known = deployed("bundles")?.[LOOP];
        if (known) return known;
        const names = (Object.keys(programs) as ProgramName[]).filter((name) => !OF_CLOUD_LOOP.includes(name));
        const bundles = {
            ...Object.fromEntries(names.map((name) => [name, this.bundle(name)])),
            [PROVIDER.file]: this.provider(),
        };
        const text = build(this.loop, {
            external: [...packagesOf(SOURCES), ...packagesOf(this.program)],
            define: { "require.main": "undefined" },
        });
        const sha256 = digest(JSON.stringify(bundles), text);
        const made: Bundle = { file: `loop-${sha256.slice(0, 16)}.cjs`, sha256 };
        const environment = deployedEnvironment({ bundles: { ...bundles, [LOOP]: made } });
        const start = [
            `Object.assign(process.env, ${JSON.stringify(environment)});`,
            `require = globalThis.${packageLoader} ?? require;`,
        ];
        keep(made, () => [...start, text].join("\n"));
        return made;
    }

    /**
     * The process of Pulumi's dynamic provider, with its packages. Building it takes seconds, so it is built once for each
     * version of the sources and of the installed packages.
     */
    private provider(): Bundle {
        const entry = join(SOURCES, PROVIDER.entry);
        const sha256 = digest(build(entry, { packages: "external" }), installedPackages());
        const made: Bundle = { file: `provider-${sha256.slice(0, 16)}/${PROVIDER.file}`, sha256 };
        const options = { external: [...NOT_BUNDLED, ...MISTAKEN], ...special["dynamic-provider"] };
        keep(made, () => build(entry, options), 0o755);
        return made;
    }

    private get loop(): string {
        const path = join(this.program, LOOP);
        if (existsSync(path)) return path;
        throw new Error(`${this.program} has no ${LOOP}, which runs the replacement loop on its program`);
    }
}

/** Writes a bundle's file unless it is there. */
function keep({ file }: Bundle, text: () => string, mode = 0o644): void {
    const path = join(gatewayHome().bundles, file);
    if (!existsSync(path)) writeAtomically(path, text(), mode, false);
}

function digest(...parts: readonly string[]): string {
    const hash = createHash("sha256");
    for (const part of parts) hash.update(part).update("\0");
    return hash.digest("hex");
}

/** The packages that a package depends on, except this one, which is compiled. */
function packagesOf(folder: string): string[] {
    const { dependencies = {} } = readPackage(folder);
    return Object.keys(dependencies).filter((name) => name !== readPackage(SOURCES).name);
}

function readPackage(folder: string): { readonly name?: string; readonly dependencies?: Record<string, string> } {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
}

/** Changes with the installed versions of packages, as npm records them. */
function installedPackages(): string {
    const record = join(SOURCES, "node_modules", ".package-lock.json");
    return existsSync(record) ? readFileSync(record, "utf8") : readFileSync(join(SOURCES, "package.json"), "utf8");
}

/** The folder with the dynamic provider of the deployed loop's engine; undefined where there is none. */
export function deployedProviderFolder(): string | undefined {
    const provider = deployed("bundles")?.[PROVIDER.file];
    return provider && dirname(join(gatewayHome().bundles, provider.file));
}

function build(entryPoint: string, options: BuildOptions): string {
    // Not before it is needed: where bundles are only known by their checksums it is not there.
    const { buildSync } = require("esbuild") as typeof import("esbuild");
    const result = buildSync({
        absWorkingDir: SOURCES,
        entryPoints: [entryPoint],
        bundle: true,
        platform: "node",
        target: bundleTarget,
        format: "cjs",
        legalComments: "none",
        write: false,
        logLevel: "error",
        ...options,
    });
    return result.outputFiles?.[0]?.text ?? "";
}
