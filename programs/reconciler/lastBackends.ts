/** What the reconciler remembers across restarts, of itself, of HAProxy and of the machine. */
import { existsSync, readFileSync } from "node:fs";
import { writeAtomically } from "../../lib/files";
import { type Backend, parseBackends } from "./backends";
import type { SlotMemory } from "./planChanges";

/** The last good backend list, and which backend each slot holds. */
export interface Memory extends SlotMemory {
    readonly backends: readonly Backend[];
}

/** The memory of a new machine. */
export const emptyMemory: Memory = { backends: [], slots: {}, draining: {} };

const isRecordOf = (value: unknown, type: "string" | "number") =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((inner) => typeof inner === type);

/**
 * Reads the memory, or that of a new machine if there is no file.
 *
 * @throws Error if the file is damaged.
 */
export function readMemory(path: string): Memory {
    if (!existsSync(path)) return emptyMemory;
    const { backends, slots, draining } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    if (!isRecordOf(slots, "string") || !isRecordOf(draining, "number")) throw new Error("not a reconciler's memory");
    const list = parseBackends(JSON.stringify(backends));
    if (list.refused.length > 0) throw new Error(`not a reconciler's memory: ${list.refused[0]}`);
    return {
        backends: list.backends,
        slots: slots as Memory["slots"],
        draining: draining as Memory["draining"],
    };
}

/** Keeps the memory, safe from power loss. */
export function writeMemory(path: string, memory: Memory): void {
    writeAtomically(path, `${JSON.stringify(memory, undefined, 2)}\n`, 0o600);
}
