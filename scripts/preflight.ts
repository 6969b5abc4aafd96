/** What has to be so before anything is begun, told all at once. */
import { accessSync, constants, mkdirSync, statfsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { gatewayHome } from "../components/local/home";
import { UserError } from "./engine";
import { withLock } from "./tools/lock";

/** The programs of the system that are used besides the tools; all are part of every common distribution. */
const PROGRAMS: Readonly<Record<string, string>> = { setpriv: "util-linux" };
/** What a deployment writes before its logs are rotated, with a margin, bytes. */
const FREE_DISK = 1024 ** 3;

/** @throws UserError with everything that is missing. */
export function preflight(): void {
    const problems: string[] = [];
    if (process.platform !== "linux" || process.arch !== "x64") {
        problems.push(`this is ${process.platform} on ${process.arch}; Linux on x86-64 is needed`);
    }
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    if (major < 20 || (major === 20 && minor < 19))
        problems.push(`Node ${process.versions.node}; 20.19 or later is needed`);
    for (const [name, from] of Object.entries(PROGRAMS)) {
        if (!onPath(name)) problems.push(`the program "${name}" is missing: install the package ${from}`);
    }
    const { root } = gatewayHome();
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const disk = statfsSync(root);
    const free = disk.bavail * disk.bsize;
    if (free < FREE_DISK) {
        problems.push(`${Math.floor(free / 1e6)} MB free in ${root}; ${Math.ceil(FREE_DISK / 1e6)} MB are needed`);
    }
    if (problems.length > 0) throw new UserError(["Cannot start:", ...problems.map((line) => `  ${line}`)].join("\n"));
}

function onPath(name: string): boolean {
    return (process.env.PATH ?? "").split(delimiter).some((directory) => {
        try {
            accessSync(join(directory, name), constants.X_OK);
            return true;
        } catch {
            return false;
        }
    });
}

/**
 * Runs what must not run twice at a time in this checkout. The lock of a process that is dead is taken over.
 *
 * @throws UserError when another process has it.
 */
export function exclusively<T>(action: () => Promise<T>): Promise<T> {
    const onWait = ({ pid }: { pid: number }) => {
        throw new UserError(
            `process ${pid} is already starting or stopping the deployment in this checkout: wait for it, or end it`,
        );
    };
    return withLock(gatewayHome().root, "command", { onWait }, action);
}
