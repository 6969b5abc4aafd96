/** Checks before a start. They report all problems at once. */
import { accessSync, constants, mkdirSync, statfsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { UserError } from "../engine/stack";
import { gatewayHome } from "../lib/home";
import { describeOwner, type LockOwner, withLock } from "../lib/locks";
import { runningMachines } from "../programs/supervisor/running";
import { atLeast } from "../toolchain/manifest";
import { pinnedNode } from "../toolchain/node";

/** System programs that are needed besides the tools, with their packages. Every common distribution has them. */
const PROGRAMS: Readonly<Record<string, string>> = { chrt: "util-linux", setpriv: "util-linux" };
/** The lowest Node that Pulumi's SDK supports. */
const LOWEST_NODE = "22";
/** Required free space, bytes: what a deployment writes before its logs rotate, with a margin. */
const FREE_DISK = 1024 ** 3;

/** Checks the platform, Node, system programs and free disk space. @throws UserError with all problems. */
export function preflight(): void {
    const problems: string[] = [];
    if (process.platform !== "linux" || process.arch !== "x64") {
        problems.push(`this is ${process.platform} on ${process.arch}; Linux on x86-64 is needed`);
    }
    // npm puts the pinned Node first on the PATH. Without npm, another one may run this.
    if (!atLeast(process.versions.node, LOWEST_NODE)) {
        problems.push(
            `this is Node ${process.versions.node}; use npm, which runs this project's Node ${pinnedNode.version}, ` +
                `or Node ${LOWEST_NODE} or later`,
        );
    }
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
    // They hold the addresses, and what they were given is lost with their folders, so they cannot be adopted.
    const lost = runningMachines(root).filter(({ removed }) => removed);
    if (lost.length > 0) {
        const names = lost.map(({ name, pid }) => `${name} (process ${pid})`).join(", ");
        problems.push(
            `machines of an earlier deployment run on, though their folders in ${root} were removed: ${names}. ` +
                '"npm run down" ends them; then start again',
        );
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
 * Runs an action that must not run twice at a time in this checkout. Takes over the lock of a dead process.
 *
 * @throws UserError when another process holds the lock.
 */
export function exclusively<T>(action: () => Promise<T>): Promise<T> {
    const file = join(gatewayHome().root, "command", ".lock");
    const onWait = (owner: LockOwner) => {
        throw new UserError(
            `The deployment of this checkout is being started or stopped already, by ${describeOwner(owner, file)}`,
        );
    };
    return withLock(file, { onWait }, action);
}
