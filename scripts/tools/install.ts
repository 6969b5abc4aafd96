/** Getting one tool: cache, lock, sources one after the other. */

import * as fs from "node:fs";
import * as path from "node:path";
import { type Cached, cacheRoot, commit, lookUp, remove, sweep, temporaryDirectory } from "./cache";
import { reasonOf, ToolError } from "./errors";
import { DEADLINES, type Deadlines } from "./http";
import { withLock } from "./lock";
import type { Source, ToolSpec } from "./manifest";
import { fromDebian } from "./sources/debian";
import { fromGo } from "./sources/go";
import { checkVersion, type Job, type Origin } from "./sources/job";
import { fromVendor, mirrored } from "./sources/official";
import { fromPath } from "./sources/path";

/** How to install. */
export interface InstallOptions {
    /** Gets a line about what is going on, at least every 10 s while something is. */
    readonly progress: (line: string) => void;
    /** Ends the installation; the signal's reason is thrown then, and nothing half-made is left. */
    readonly signal?: AbortSignal | undefined;
    /** The cache's directory. Default {@link cacheRoot}. */
    readonly root?: string;
    /** Deadlines of downloads. Default {@link DEADLINES}. */
    readonly deadlines?: Deadlines;
    /** Hosts out of reach, shared by the tools of one run. Default none. */
    readonly unreachable?: Map<string, string>;
}

/**
 * Makes sure that a tool is in the cache and runs.
 *
 * Can be killed at any time and run by several processes at once: one of them installs, the others wait and say so.
 *
 * @returns the cache entry; its executable has just been run and told an acceptable version.
 * @throws ToolError with everything that was tried; the signal's reason when aborted.
 */
export async function installTool(spec: ToolSpec, options: InstallOptions): Promise<Cached> {
    const root = options.root ?? cacheRoot();
    const cached = lookUp(spec, root);
    if (cached && (await runs(spec, cached, options.signal)) === undefined) return cached;

    const { progress, stop } = withHeartbeat((line) => options.progress(`${spec.title}: ${line}`));
    try {
        fs.mkdirSync(path.join(root, spec.name), { recursive: true });
        return await withLock(
            root,
            spec.name,
            {
                signal: options.signal,
                onWait: (owner) => progress(`waiting for process ${owner.pid}, which is installing it`),
            },
            () => installLocked(spec, root, progress, options),
        );
    } catch (error) {
        options.signal?.throwIfAborted();
        if (error instanceof ToolError) throw error;
        throw new ToolError(`Could not get ${spec.title}: the tool cache ${root} cannot be used: ${reasonOf(error)}`);
    } finally {
        stop();
    }
}

/** Milliseconds of silence after which a line says that work goes on. */
const SILENCE_MS = 10_000;

/** Passes lines on, and adds one whenever nothing was said for a while. */
function withHeartbeat(progress: (line: string) => void): { progress: (line: string) => void; stop: () => void } {
    const started = Date.now();
    const timer = setInterval(() => {
        progress(`still at it, ${Math.round((Date.now() - started) / 1000)} s`);
    }, SILENCE_MS);
    return {
        progress: (line) => {
            timer.refresh();
            progress(line);
        },
        stop: () => clearInterval(timer),
    };
}

/** Why a cached tool does not run, or undefined when it does. */
async function runs(spec: ToolSpec, cached: Cached, signal?: AbortSignal): Promise<string | undefined> {
    try {
        await checkVersion(spec, cached.executable, signal);
        return undefined;
    } catch (error) {
        signal?.throwIfAborted();
        return reasonOf(error);
    }
}

async function installLocked(
    spec: ToolSpec,
    root: string,
    progress: (line: string) => void,
    options: InstallOptions,
): Promise<Cached> {
    sweep(root);
    // Another process may have installed it in the meantime. What does not run goes, and a worse source may still have it.
    for (let cached = lookUp(spec, root); cached; cached = lookUp(spec, root)) {
        const problem = await runs(spec, cached, options.signal);
        if (problem === undefined) return cached;
        progress(`the cached one is unusable and is removed: ${problem}`);
        remove(root, cached.directory);
    }

    const tried: string[] = [];
    for (const source of spec.sources) {
        const directory = temporaryDirectory(root, spec.name);
        try {
            fs.mkdirSync(path.join(directory, "bin"));
            const origin = await fetchFrom(source, {
                spec,
                root,
                directory,
                progress,
                signal: options.signal,
                deadlines: options.deadlines ?? DEADLINES,
                unreachable: options.unreachable ?? new Map(),
            });
            const version = await checkVersion(spec, path.join(directory, "bin", spec.name), options.signal);
            for (const [name, content] of Object.entries(spec.companions ?? {})) {
                const file = path.join(directory, "bin", name);
                if (!fs.existsSync(file)) fs.writeFileSync(file, content, { mode: 0o755 });
            }
            const installed = commit(root, spec, source, directory, { version, ...origin });
            progress(`${version} is ready (${describe(source)})`);
            return installed;
        } catch (error) {
            options.signal?.throwIfAborted();
            const reason = reasonOf(error);
            tried.push(`${describe(source)}: ${reason}`);
            if (source.kind !== "path") progress(`not from here: ${describe(source)}: ${reason}`);
        } finally {
            fs.rmSync(directory, { recursive: true, force: true });
        }
    }
    const mirror = spec.sources.some((source) => source.kind === "official")
        ? ", or set HTTPS_PROXY or GATEWAY_TOOLS_MIRROR where the vendor's site is out of reach"
        : "";
    throw new ToolError(
        [
            `Could not get ${spec.title} ${spec.version}. Tried, in this order:`,
            ...tried.map((line) => `  - ${line}`),
            `To help: ${spec.byHand}${mirror}.`,
        ].join("\n"),
    );
}

function fetchFrom(source: Source, job: Job): Promise<Origin> {
    switch (source.kind) {
        case "path":
            return fromPath(job, source);
        case "official":
            return fromVendor(job, source);
        case "go":
            return fromGo(job, source);
        case "debian":
            return fromDebian(job, source);
    }
}

/** A source in words. */
function describe(source: Source): string {
    switch (source.kind) {
        case "path":
            return "already on this computer";
        case "official":
            return `official download ${process.env.GATEWAY_TOOLS_MIRROR ? mirrored(source.url) : source.url}`;
        case "go":
            return `built from source (${source.package})`;
        case "debian":
            return `package ${source.package} of this distribution`;
    }
}
