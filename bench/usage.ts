/** What processes use of the machine, from `proc(5)`. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { groupMembers } from "../supervisor/process";

/** What a process, or several, have used and hold. */
export interface Usage {
    /** CPU time since its start, seconds, in user mode and in the kernel. */
    readonly cpuSeconds: number;
    /** Resident memory, bytes: what it would take on a machine of its own, shared libraries and all. */
    readonly memoryBytes: number;
}

const nothing: Usage = { cpuSeconds: 0, memoryBytes: 0 };

let ticksPerSecond: number | undefined;

/** A process's usage; nothing when it has ended. */
export function usageOf(pid: number): Usage {
    ticksPerSecond ??= Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
    try {
        const ticks = cpuTicks(readFileSync(`/proc/${pid}/stat`, "utf8"));
        return {
            cpuSeconds: ticks / ticksPerSecond,
            memoryBytes: residentBytes(readFileSync(`/proc/${pid}/status`, "utf8")),
        };
    } catch {
        return nothing;
    }
}

/** The time in user mode and in the kernel that `/proc/PID/stat` shows, in ticks. */
export function cpuTicks(stat: string): number {
    // The second field is the program's name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
}

/** The resident memory that `/proc/PID/status` shows, bytes. */
export function residentBytes(status: string): number {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** The sum of several. */
export function sum(usages: readonly Usage[]): Usage {
    return usages.reduce(
        (a, b) => ({ cpuSeconds: a.cpuSeconds + b.cpuSeconds, memoryBytes: a.memoryBytes + b.memoryBytes }),
        nothing,
    );
}

/** The usage of a process group: of a machine of this computer, its supervisor included. */
export function groupUsage(leader: number): Usage {
    return sum(groupMembers(leader).map(usageOf));
}

/** The time all cores of this computer were busy, and all of it, seconds since its boot. */
export function coreSeconds(): { readonly busy: number; readonly all: number } {
    const fields = (readFileSync("/proc/stat", "utf8").split("\n")[0] ?? "")
        .trim()
        .split(/\s+/)
        .slice(1, 9)
        .map(Number);
    const all = fields.reduce((a, b) => a + b, 0) / 100;
    // idle and iowait
    const idle = ((fields[3] ?? 0) + (fields[4] ?? 0)) / 100;
    return { busy: all - idle, all };
}
