/** Installs one tool: looks into the cache, takes the lock, tries one source after the other. */

import * as fs from "node:fs";
import * as path from "node:path";
import { describeOwner, ownerState, withLock } from "../lib/locks";
import {
    type Cached,
    cacheRoot,
    commitEntry,
    lookUp,
    removeEntry,
    sweepTemporaries,
    temporaryDirectory,
} from "./cache";
import { DEADLINES, type Deadlines } from "./download";
import { reasonOf, ToolError } from "./errors";
import type { Source, ToolSpec } from "./manifest";
import { fromDebian } from "./sources/debian";
import { fromGo } from "./sources/go";
import { checkVersion, type Job, type Origin } from "./sources/job";
import { fromVendor, mirrored } from "./sources/official";
import { fromPath } from "./sources/path";

/** How to install. */
export interface InstallOptions {
    /** Receives lines about the progress, at least every 10 s. */
    readonly progress: (line: string) => void;
    /** Ends the installation, which then throws the signal's reason and leaves nothing incomplete. */
    readonly signal?: AbortSignal | undefined;
    /** The cache's directory. Default {@link cacheRoot}. */
    readonly root?: string;
    /** Deadlines of downloads. Default {@link DEADLINES}. */
    readonly deadlines?: Deadlines;
    /** Unreachable hosts, shared by the tools of one run. Default none. */
    readonly unreachable?: Map<string, string>;
}

/**
 * Installs a tool in the cache if necessary, and checks that it runs.
 *
 * Safe to kill at any time, and to run in several processes at once: one of them installs, the others wait.
 *
 * @returns the cache entry. Its executable has just reported an accepted version.
 * @throws ToolError with everything that was tried; the signal's reason when aborted.
 */
export async function installTool(spec: ToolSpec, options: InstallOptions): Promise<Cached> {
    const root = options.root ?? cacheRoot();
    const cached = lookUp(spec, root);
    if (cached && (await problemRunning(spec, cached, options.signal)) === undefined) return cached;

    const { progress, stop } = withHeartbeat((line) => options.progress(`${spec.title}: ${line}`));
    try {
        fs.mkdirSync(path.join(root, spec.name), { recursive: true });
        const lock = path.join(root, spec.name, ".lock");
        return await withLock(
            lock,
            {
                signal: options.signal,
                onWait: (owner) => {
                    const elsewhere = ownerState(owner) === "elsewhere";
                    const who = elsewhere ? describeOwner(owner, lock) : `process ${owner.pid}, which is installing it`;
                    progress(`waiting for ${who}`);
                },
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

/** Milliseconds of silence after which a progress line is added. */
const SILENCE_MS = 10_000;

/** Passes lines on, and adds one after a while of silence. */
function withHeartbeat(progress: (line: string) => void): { progress: (line: string) => void; stop: () => void } {
    const started = Date.now();
    const timer = setInterval(() => {
        progress(`still working, ${Math.round((Date.now() - started) / 1000)} s`);
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
async function problemRunning(spec: ToolSpec, cached: Cached, signal?: AbortSignal): Promise<string | undefined> {
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
    sweepTemporaries(root);
    // Another process may have installed it meanwhile. If an entry does not run, one from another source may.
    for (let cached = lookUp(spec, root); cached; cached = lookUp(spec, root)) {
        const problem = await problemRunning(spec, cached, options.signal);
        if (problem === undefined) return cached;
        progress(`removing the unusable cached version: ${problem}`);
        removeEntry(root, cached.directory);
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
            const installed = commitEntry(root, spec, source, directory, { version, ...origin });
            progress(`${version} is ready (${describeSource(source)})`);
            return installed;
        } catch (error) {
            options.signal?.throwIfAborted();
            const reason = reasonOf(error);
            tried.push(`${describeSource(source)}: ${reason}`);
            if (source.kind !== "path") progress(`failed: ${describeSource(source)}: ${reason}`);
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
function describeSource(source: Source): string {
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
