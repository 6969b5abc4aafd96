/** The loop's last observation and decision on disk, so that `status` reports what the loop sees. */
import { readJson, writeAtomically } from "../lib/files";
import type { Decision } from "./core/decision";
import type { Observation } from "./core/observation";
import type { ReplacementPolicy } from "./core/policy";

/** One observation and decision of the loop. */
export interface Snapshot {
    readonly pid: number;
    readonly policy: ReplacementPolicy;
    readonly observation: Observation;
    readonly decision: Decision;
    /** What needs a human, although the loop may still work. Absent in snapshots of earlier versions. */
    readonly alarms?: readonly { readonly name: string; readonly text: string; readonly since: number }[];
}

/** Writes the snapshot atomically. */
export function writeSnapshot(path: string, snapshot: Snapshot): void {
    writeAtomically(path, JSON.stringify(snapshot), 0o640, false);
}

/** The last snapshot; undefined when there is none. */
export function readSnapshot(path: string): Snapshot | undefined {
    return readJson<Snapshot>(path);
}
