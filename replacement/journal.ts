/** The loop's journal: JSON lines on disk that tell operators what the loop did and why. */
import {
    closeSync,
    existsSync,
    fstatSync,
    fsyncSync,
    mkdirSync,
    openSync,
    readFileSync,
    readSync,
    renameSync,
    writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Report } from "./act/actor";
import type { Action } from "./core/action";
import type { Decision } from "./core/decision";
import type { Observation, ReplaceRequest } from "./core/observation";
import type { ReplacementPolicy } from "./core/policy";
import type { Step } from "./core/recovery";
import type { LeaseEvent } from "./lease";

/** One entry. `time` is in seconds since 1970. */
export type JournalEntry =
    | {
          readonly kind: "start";
          readonly time: number;
          readonly pid: number;
          readonly policy: ReplacementPolicy;
          /** The leader's epoch. */
          readonly epoch?: number;
      }
    | { readonly kind: "stop"; readonly time: number; readonly reason: string }
    /** A decision that differs from the last one in more than elapsed time, with what led to it. */
    | {
          readonly kind: "decision";
          readonly time: number;
          readonly decision: Omit<Decision, "memory">;
          readonly observation: Observation;
      }
    /** A change of the leadership. */
    | { readonly kind: "leadership"; readonly time: number; readonly event: LeaseEvent }
    /** A step of the orphan clean-up was carried out, or failed. */
    | { readonly kind: "recovery"; readonly time: number; readonly step: Step; readonly error?: string }
    /** An operator's request was answered. */
    | {
          readonly kind: "request";
          readonly time: number;
          readonly request: ReplaceRequest;
          readonly done: boolean;
          readonly text: string;
      }
    | { readonly kind: "action"; readonly time: number; readonly action: Action; readonly report: Report }
    /** Something failed for the first time, or in a new way. */
    | { readonly kind: "error"; readonly time: number; readonly where: string; readonly message: string };

/** Where the loop records what it does. */
export interface Journal {
    /** @throws when the journal cannot be written. The loop logs that and continues. */
    append(entry: JournalEntry): void;
}

/**
 * A journal in a file. Each line is written by one call, and actions are on the disk before the call returns. At
 * `maxBytes` (default 4 MiB) the file becomes `PATH.1` and replaces the previous one, so the journal takes at most twice
 * that size.
 */
export function fileJournal(path: string, maxBytes = 4 * 1024 * 1024): Journal {
    mkdirSync(dirname(path), { recursive: true });
    return {
        append(entry) {
            const line = `${JSON.stringify(entry)}\n`;
            const file = openForLine(path, Buffer.byteLength(line), maxBytes);
            try {
                writeSync(file, endsTorn(file) ? `\n${line}` : line);
                if (entry.kind === "action" || entry.kind === "recovery") fsyncSync(file);
            } finally {
                closeSync(file);
            }
        },
    };
}

function openForLine(path: string, length: number, maxBytes: number): number {
    const file = openSync(path, "a+", 0o640);
    const { size } = fstatSync(file);
    if (size === 0 || size + length <= maxBytes) return file;
    closeSync(file);
    renameSync(path, `${path}.1`);
    return openSync(path, "a+", 0o640);
}

/** Whether the last line is incomplete, because its writer was killed. */
function endsTorn(file: number): boolean {
    const { size } = fstatSync(file);
    if (size === 0) return false;
    const last = Buffer.alloc(1);
    readSync(file, last, 0, 1, size - 1);
    return last.toString() !== "\n";
}

/** All entries of a journal's two files, oldest first. Skips incomplete lines; a missing file has no entries. */
export function readJournal(path: string): JournalEntry[] {
    return [`${path}.1`, path].flatMap((file) =>
        existsSync(file) ? readFileSync(file, "utf8").split("\n").flatMap(parseLine) : [],
    );
}

function parseLine(line: string): JournalEntry[] {
    try {
        const entry = JSON.parse(line) as JournalEntry;
        return typeof entry?.kind === "string" && typeof entry.time === "number" ? [entry] : [];
    } catch {
        return [];
    }
}

/** A journal in memory, for tests and simulations. */
export function memoryJournal(): Journal & { readonly entries: JournalEntry[] } {
    const entries: JournalEntry[] = [];
    return { entries, append: (entry) => void entries.push(entry) };
}
