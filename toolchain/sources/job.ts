/** The common part of a tool's sources. */

import * as path from "node:path";
import type { Entry } from "../cache";
import type { Deadlines } from "../download";
import { SourceError } from "../errors";
import type { ToolSpec } from "../manifest";
import { lastLines, run } from "../processes";

/** One try to get a tool from one source. */
export interface Job {
    readonly spec: ToolSpec;
    /** The cache's directory. */
    readonly root: string;
    /** An empty directory in the cache; the source puts the executable at `bin/<tool>` below it. */
    readonly directory: string;
    readonly progress: (line: string) => void;
    readonly signal?: AbortSignal | undefined;
    readonly deadlines: Deadlines;
    /** Hosts that were unreachable in this run, and why. They are not tried again. */
    readonly unreachable: Map<string, string>;
}

/** What a source reports about the tool. The version comes from running it. */
export type Origin = Pick<Entry, "from" | "sha256" | "checkedAgainst">;

/** Deadline for printing the version, in milliseconds. A cold disk is slow. */
const VERSION_MS = 30_000;

/**
 * The version of an executable, from running it.
 *
 * @throws SourceError when it does not run, prints no version, or prints one that is not accepted.
 */
export async function checkVersion(spec: ToolSpec, executable: string, signal?: AbortSignal): Promise<string> {
    const { code, output } = await run([executable, ...spec.versionArgs], {
        timeoutMs: VERSION_MS,
        signal,
        cwd: path.dirname(executable),
        env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "true", CHECKPOINT_DISABLE: "1" },
    });
    if (code !== 0) throw new SourceError(`${executable} does not run (exit code ${code}: ${lastLines(output, 2)})`);
    const version = spec.versionPattern.exec(output)?.[1];
    if (!version) throw new SourceError(`${executable} does not tell its version`);
    if (!spec.accepts(version)) throw new SourceError(`${executable} is version ${version}`);
    return version;
}
