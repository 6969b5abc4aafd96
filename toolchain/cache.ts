/**
 * The cache of installed tools.
 *
 * ```
 * <root>/<tool>/<version>-<source>-<key>/bin/<tool>    the executable (for `path`, a link to it)
 *                                       /entry.json    what it is: see Entry
 *               .lock                                  the process that is installing this tool
 *       /node/<version>-npm-<key>/bin/node             the pinned Node: see `node.ts`
 *       /.tmp/<tool>.<pid>.<start time>.<random>/      entries in the making
 * ```
 * An entry is built in `.tmp` and then renamed, so the cache never has an incomplete one. The key stands for the
 * content: it changes with the pinned checksum, or with the wrapper module and the way it is built, and an entry with another key is not used.
 */

import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { isAlive, thisProcess } from "../lib/processes";
import { SourceError } from "./errors";
import { GO_BUILD, type Source, type ToolSpec } from "./manifest";
import { isExecutable } from "./processes";
import { STUBS, stubFiles } from "./sources/stubs";

/** Description of a cache entry, kept in its `entry.json`. */
export interface Entry {
    readonly tool: string;
    readonly version: string;
    readonly source: Source["kind"];
    /** Where it came from, for people: a URL, a module, package files, a path. */
    readonly from: string;
    /** SHA-256 of the archive that was unpacked, in hex, and what it was compared with. */
    readonly sha256?: string;
    readonly checkedAgainst?: "pinned" | "published";
    /** Size of the executable in bytes, to detect a changed one. */
    readonly size: number;
    /** Modification time of the executable in ms since 1970; only for `path`, where others may replace it. */
    readonly modified?: number;
}

/** A usable entry of the cache. */
export interface Cached {
    /** The entry's directory. */
    readonly directory: string;
    /** The executable. */
    readonly executable: string;
    readonly entry: Entry;
}

/** The cache's directory: `$GATEWAY_TOOLS`, or `gateway-tools` below `$XDG_CACHE_HOME` (default `~/.cache`). */
export function cacheRoot(environment: NodeJS.ProcessEnv = process.env): string {
    if (environment.GATEWAY_TOOLS) return path.resolve(environment.GATEWAY_TOOLS);
    const base = environment.XDG_CACHE_HOME || path.join(environment.HOME || os.homedir(), ".cache");
    return path.join(path.resolve(base), "gateway-tools");
}

function shortHash(...parts: readonly (string | Buffer)[]): string {
    const hash = crypto.createHash("sha256");
    for (const part of parts) hash.update(part).update("\0");
    return hash.digest("hex").slice(0, 12);
}

/** The key that an entry from this source must have; undefined when any is accepted, because others choose the content. */
export function keyOf(source: Source): string | undefined {
    switch (source.kind) {
        case "official":
            return source.sha256?.slice(0, 12) ?? shortHash(source.url);
        case "go": {
            const stubs = stubFiles(source.directory).map((file) => path.join(STUBS, file));
            const files = ["go.mod", "go.sum", ...stubs];
            const existing = files
                .map((file) => path.join(source.directory, file))
                .filter((file) => fs.existsSync(file));
            // Without its wrapper module the tool cannot be built or compared.
            if (existing.length < files.length) return "unknown";
            const how = JSON.stringify([GO_BUILD, source.package, source.ldflags, source.environment, stubs]);
            return shortHash(how, ...existing.map((file) => fs.readFileSync(file)));
        }
        case "path":
        case "debian":
            return undefined;
    }
}

/** The entry in a directory, if it is complete and acceptable. */
function readEntry(directory: string, spec: ToolSpec, source: Source): Cached | undefined {
    try {
        const entry = JSON.parse(fs.readFileSync(path.join(directory, "entry.json"), "utf8")) as Entry;
        const executable = path.join(directory, "bin", spec.name);
        const { size, mtimeMs } = fs.statSync(executable);
        const same = size === entry.size && (entry.modified === undefined || mtimeMs === entry.modified);
        const wanted = entry.tool === spec.name && entry.source === source.kind && spec.accepts(entry.version);
        return same && wanted && isExecutable(executable) ? { directory, executable, entry } : undefined;
    } catch {
        return undefined;
    }
}

/** The cached tool, from the most preferred source that has an entry; undefined when there is none. Starts nothing. */
export function lookUp(spec: ToolSpec, root: string = cacheRoot()): Cached | undefined {
    const home = path.join(root, spec.name);
    let names: string[];
    try {
        names = fs.readdirSync(home).sort();
    } catch {
        return undefined;
    }
    for (const source of spec.sources) {
        const key = keyOf(source);
        for (const name of names) {
            const matches =
                key === undefined ? name.includes(`-${source.kind}-`) : name.endsWith(`-${source.kind}-${key}`);
            const found = matches ? readEntry(path.join(home, name), spec, source) : undefined;
            if (found) return found;
        }
    }
    return undefined;
}

/** Name of a temporary directory, with its owner's pid and start time. */
const TEMPORARY = /^.*\.(\d+)\.(\d+)\.[^.]+$/;

/** Removes the temporary directories of processes that have died. */
export function sweepTemporaries(root: string): void {
    const home = path.join(root, ".tmp");
    if (!fs.existsSync(home)) return;
    for (const name of fs.readdirSync(home)) {
        const [, pid, startTime] = TEMPORARY.exec(name) ?? [];
        if (pid && startTime && isAlive({ pid: Number(pid), startTime })) continue;
        fs.rmSync(path.join(home, name), { recursive: true, force: true });
    }
}

/** Creates a temporary directory in the cache. The caller removes it or passes it to {@link commitEntry}. */
export function temporaryDirectory(root: string, tool: string): string {
    const home = path.join(root, ".tmp");
    fs.mkdirSync(home, { recursive: true });
    const { pid, startTime } = thisProcess();
    const directory = path.join(home, `${tool}.${pid}.${startTime}.${crypto.randomBytes(4).toString("hex")}`);
    fs.mkdirSync(directory);
    return directory;
}

/**
 * Turns a directory with `bin/<tool>` into a cache entry atomically, and writes its `entry.json`.
 */
export function commitEntry(
    root: string,
    spec: ToolSpec,
    source: Source,
    directory: string,
    entry: Omit<Entry, "tool" | "source" | "size" | "modified">,
): Cached {
    const { size, mtimeMs } = fs.statSync(path.join(directory, "bin", spec.name));
    const whole: Entry = {
        tool: spec.name,
        source: source.kind,
        ...entry,
        size,
        ...(source.kind === "path" ? { modified: mtimeMs } : {}),
    };
    fs.writeFileSync(path.join(directory, "entry.json"), `${JSON.stringify(whole, undefined, 4)}\n`);

    const key = keyOf(source) ?? shortHash(entry.from);
    const target = path.join(root, spec.name, `${entry.version}-${source.kind}-${key}`);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    // An existing directory is either unusable or equivalent.
    removeEntry(root, target);
    fs.renameSync(directory, target);
    return { directory: target, executable: path.join(target, "bin", spec.name), entry: whole };
}

/** Removes an entry atomically. */
export function removeEntry(root: string, directory: string): void {
    if (!fs.existsSync(directory)) return;
    const aside = path.join(temporaryDirectory(root, "removed"), "entry");
    fs.renameSync(directory, aside);
    fs.rmSync(path.dirname(aside), { recursive: true, force: true });
}

/**
 * Checks that a directory's file system has room.
 *
 * @throws SourceError with the free and the required space, in MB.
 */
export function requireFreeSpace(directory: string, bytes: number): void {
    let existing = directory;
    while (!fs.existsSync(existing)) existing = path.dirname(existing);
    const { bavail, bsize } = fs.statfsSync(existing);
    const megabytes = (count: number) => `${Math.ceil(count / 1e6)} MB`;
    if (bavail * bsize < bytes)
        throw new SourceError(
            `not enough disk space: ${megabytes(bavail * bsize)} free at ${existing}, ${megabytes(bytes)} needed`,
        );
}
