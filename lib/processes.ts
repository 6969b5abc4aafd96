import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Identifies a process. Pids are reused, but not together with a start time. */
export interface ProcessIdentity {
    readonly pid: number;
    /** Field 22 of `/proc/PID/stat`: clock ticks after boot. */
    readonly startTime: string;
}

/** The identity of this process. */
export function thisProcess(): ProcessIdentity {
    return identify(process.pid) ?? { pid: process.pid, startTime: "0" };
}

/** The identity of a running process; undefined when there is none or it is a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
    // Preparations for a cloud also run on systems without /proc, where only the pid tells.
    if (!existsSync("/proc/self/stat")) return answers(pid) ? { pid, startTime: "0" } : undefined;
    try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        // The second field, the command in parentheses, may contain spaces and parentheses itself.
        const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        const [state, startTime] = [fields[0], fields[19]];
        if (startTime === undefined || state === "Z" || state === "X") return undefined;
        return { pid, startTime };
    } catch {
        return undefined;
    }
}

function answers(pid: number): boolean {
    try {
        process.kill(pid, 0);
        return true;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "EPERM";
    }
}

/** Whether this process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
    return identify(process.pid)?.startTime === process.startTime;
}

/** Sends a signal to a process or, with a negative pid, to a group; false when it no longer exists. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
    try {
        process.kill(pid, name);
        return true;
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
        throw error;
    }
}

/** The processes of a process group. */
export function groupMembers(group: number): number[] {
    return readdirSync("/proc")
        .filter((entry) => /^\d+$/.test(entry))
        .map(Number)
        .filter((pid) => {
            try {
                const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
                const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
                return Number(fields[2]) === group && fields[0] !== "Z";
            } catch {
                return false;
            }
        });
}

/** Who listens on a TCP port of an address, such as "consul, process 123", for messages; undefined when unknown. */
export function listenerOn(address: string, port: number): string | undefined {
    const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0").toUpperCase());
    const hexPort = port.toString(16).padStart(4, "0").toUpperCase();
    const wanted = [`${octets.reverse().join("")}:${hexPort}`, `00000000:${hexPort}`];
    const LISTEN = "0A";
    const row = readFileSync("/proc/net/tcp", "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/))
        .find((columns) => wanted.includes(columns[1] ?? "") && columns[3] === LISTEN);
    const inode = row?.[9];
    if (inode === undefined) return undefined;
    for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
        try {
            const holds = readdirSync(`/proc/${pid}/fd`).some(
                (fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`,
            );
            if (holds) return `${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}, process ${pid}`;
        } catch {
            // The process has ended, or belongs to another user.
        }
    }
    return undefined;
}
