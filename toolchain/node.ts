/**
 * The Node that runs everything: this project's commands, its programs on machines, and the engine's program.
 *
 * It comes as an npm package for each platform (`optionalDependencies` in package.json). npm puts it first on the PATH of
 * every script, so the operator's own Node only has to run npm. Machines get the same executable.
 */
import { createHash } from "node:crypto";
import { constants, copyFileSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { cacheRoot } from "./cache";
import { ToolError } from "./errors";

/** Processors that Node is pinned for, as `process.arch` names them. */
export type Architecture = "x64" | "arm64";

/** The pinned Node. package.json names the same version; a test compares them. */
export const pinnedNode = {
    version: "24.22.3",
    /** SHA-256 of the executable in the npm package of each platform, in hex. */
    sha256: {
        x64: "a7ec1b37e6ff9d187e4198c5b6df9a4eb1c74dd31804fb3bac55cc4ceca1ac01",
        arm64: "8f9c2a55879e9705cb285b6cdd649d95df642c6720f052cb30f300d2677da99f",
    },
} as const satisfies { readonly version: string; readonly sha256: Readonly<Record<Architecture, string>> };

/** esbuild's target for programs: the pinned Node. */
export const bundleTarget = `node${pinnedNode.version.split(".")[0]}`;

/** Processors of a cloud's machines: the other programs that they fetch are built for these only. */
export const machineArchitecture = "x64" satisfies Architecture;

/**
 * The executable of the pinned Node in `node_modules`.
 *
 * @param architecture default: that of this computer.
 * @throws ToolError with the remedy when it is not installed, or no Node is pinned for this platform.
 */
export function nodeExecutable(architecture: string = process.arch): string {
    if (process.platform !== "linux" || !isArchitecture(architecture)) {
        throw new ToolError(
            `Node is pinned for Linux on x64 and arm64; this is ${process.platform} on ${architecture}.`,
        );
    }
    const name = `node-linux-${architecture}`;
    try {
        return join(dirname(require.resolve(`${name}/package.json`)), "bin", "node");
    } catch {
        throw new ToolError(
            `The package ${name}, which holds Node ${pinnedNode.version}, is not installed: run "npm ci" ` +
                "without leaving out optional packages.",
        );
    }
}

/** {@link nodeExecutable}; undefined where it is not installed. On other platforms the operator's Node runs everything. */
export function installedNode(): string | undefined {
    try {
        return nodeExecutable();
    } catch {
        return undefined;
    }
}

function isArchitecture(name: string): name is Architecture {
    return name in pinnedNode.sha256;
}

/**
 * Keeps the pinned Node in the tool cache and returns its path there. The file survives when `npm ci` replaces
 * `node_modules`, so the machines of this computer can restart their processes at any time.
 *
 * @param root the cache's directory.
 * @throws ToolError when Node is not installed, or its checksum is not the pinned one.
 */
export function cachedNode(root = cacheRoot()): string {
    if (!isArchitecture(process.arch)) return nodeExecutable();
    const key = `${pinnedNode.version}-npm-${pinnedNode.sha256[process.arch].slice(0, 12)}`;
    const path = join(root, "node", key, "bin", "node");
    if (existsSync(path)) return path;
    const source = checkedNode(nodeExecutable());
    mkdirSync(dirname(path), { recursive: true });
    const part = `${path}.${process.pid}.part`;
    try {
        try {
            linkSync(source, part);
        } catch {
            // Another file system, or a file of another user.
            copyFileSync(source, part, constants.COPYFILE_FICLONE);
        }
        renameSync(part, path);
    } finally {
        rmSync(part, { force: true });
    }
    return path;
}

/**
 * Checks that a file has the pinned checksum, and returns its path.
 *
 * @throws ToolError with the remedy when the checksum differs.
 */
export function checkedNode(path: string, architecture: string = process.arch): string {
    const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
    const pinned = isArchitecture(architecture) ? pinnedNode.sha256[architecture] : undefined;
    if (sha256 === pinned) return path;
    throw new ToolError(
        `${path} is not Node ${pinnedNode.version} for ${architecture}: its SHA-256 is ${sha256}. Run "npm ci" again.`,
    );
}
