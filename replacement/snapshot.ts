/** What the loop saw and decided last, on disk, so that `status` tells what the loop sees and not what it sees itself. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Decision } from "./decide";
import type { Observation } from "./observation";
import type { ReplacementPolicy } from "./policy";

/** One look of the loop. */
export interface Snapshot {
    readonly pid: number;
    readonly policy: ReplacementPolicy;
    readonly observation: Observation;
    readonly decision: Decision;
}

/** Writes it so that readers see the old one or the new one, never a part. */
export function writeSnapshot(path: string, snapshot: Snapshot): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, JSON.stringify(snapshot), { mode: 0o640 });
    renameSync(`${path}.tmp`, path);
}

/** The last one; undefined when there is none. */
export function readSnapshot(path: string): Snapshot | undefined {
    try {
        return JSON.parse(readFileSync(path, "utf8")) as Snapshot;
    } catch {
        return undefined;
    }
}
