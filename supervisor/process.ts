import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";

/** A process for certain: pids are used again, a pid together with its start time is not. */
export interface ProcessIdentity {
    readonly pid: number;
    /** Field 22 of `/proc/PID/stat`: clock ticks after boot. */
    readonly startTime: string;
}

/** The identity of a running process, or undefined when there is none or it is a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
    try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        // The second field is the command in parentheses, and may itself hold spaces and parentheses.
        const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        const [state, startTime] = [fields[0], fields[19]];
        if (startTime === undefined || state === "Z" || state === "X") return undefined;
        return { pid, startTime };
    } catch {
        return undefined;
    }
}

/** Whether that very process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
    return identify(process.pid)?.startTime === process.startTime;
}

/** Sends a signal to a process, or with a negative pid to a group; false when there is none any more. */
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

/** The supervisors that run in a folder, by its machine's record or not. */
export function supervisorsIn(directory: string): number[] {
    return readdirSync("/proc")
        .filter((entry) => /^\d+$/.test(entry))
        .map(Number)
        .filter((pid) => {
            try {
                const [, program = ""] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
                // By the program's name as well: the user's own shell may be in that folder too.
                if (!/(^|\/)supervisor(-[0-9a-f]+)?\.cjs$/.test(program)) return false;
                return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(directory) && identify(pid) !== undefined;
            } catch {
                return false;
            }
        });
}

/** Who listens on an address's TCP port, as "consul, process 123", for messages; undefined when it cannot be told. */
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
            // Ended meanwhile, or another user's: not ours to tell.
        }
    }
    return undefined;
}
