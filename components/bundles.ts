import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { buildSync } from "esbuild";
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
} as const;

/**
 * A program that runs from this project's sources, because it takes the whole project along: a checksum of its own
 * code and all that it imports from the project, so that a change of it is seen.
 *
 * @param file its path from the project's folder.
 */
export function projectProgram(file: string): Bundle {
    const { text } = build(file, "external");
    return { file, sha256: createHash("sha256").update(text).digest("hex") };
}

function build(entryPoint: string, packages: "bundle" | "external"): { text: string } {
    const result = buildSync({
        absWorkingDir: gatewayHome().project,
        entryPoints: [entryPoint],
        bundle: true,
        packages,
        platform: "node",
        target: "node20",
        format: "cjs",
        legalComments: "none",
        write: false,
        logLevel: "error",
    });
    return { text: result.outputFiles[0]?.text ?? "" };
}

const built = new Map<string, Bundle>();

/**
 * Bundles a program. The file's name holds its content's checksum, so that the same source always gives the same
 * bundle, and a machine goes on running the one it was made with.
 */
export function bundle(name: keyof typeof programs): Bundle {
    const home = gatewayHome();
    const earlier = built.get(name);
    if (earlier && existsSync(join(home.bundles, earlier.file))) return earlier;
    const { text } = build(programs[name], "bundle");
    const sha256 = createHash("sha256").update(text).digest("hex");
    const made: Bundle = { file: `${name}-${sha256.slice(0, 16)}.cjs`, sha256 };
    const path = join(home.bundles, made.file);
    if (!existsSync(path)) writeAtomically(path, text, 0o644, false);
    built.set(name, made);
    return made;
}
