/** CPU time and memory of processes, from `proc(5)`. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { groupMembers } from "../lib/processes";

/** CPU time and memory of one or more processes. */
export interface ProcessUsage {
    /** CPU time in user mode and in the kernel since the start, seconds. */
    readonly cpuSeconds: number;
    /** Resident memory including shared libraries, bytes. */
    readonly memoryBytes: number;
}

const nothing: ProcessUsage = { cpuSeconds: 0, memoryBytes: 0 };

let ticksPerSecond: number | undefined;

/** The usage of a process. Zero when the process has ended. */
export function processUsage(pid: number): ProcessUsage {
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

/** CPU time in user mode and in the kernel, from the text of `/proc/PID/stat`, in ticks. */
export function cpuTicks(stat: string): number {
    // The second field is the program's name, which may contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
}

/** Resident memory from the text of `/proc/PID/status`, bytes. */
export function residentBytes(status: string): number {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** The sum of several usages. */
export function sumUsage(usages: readonly ProcessUsage[]): ProcessUsage {
    return usages.reduce(
        (a, b) => ({ cpuSeconds: a.cpuSeconds + b.cpuSeconds, memoryBytes: a.memoryBytes + b.memoryBytes }),
        nothing,
    );
}

/** The usage of a process group, such as a machine of this computer with its supervisor. */
export function processGroupUsage(leader: number): ProcessUsage {
    return sumUsage(groupMembers(leader).map(processUsage));
}

/** Busy time and total time of all cores of this computer since its boot, seconds. */
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
