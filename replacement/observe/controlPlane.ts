/** The control plane, which knows which servers exist: the cloud's API or, on target `local`, the machines' records. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { ControlPlaneView } from "../core/observation";
import type { Slot } from "../core/pool";

/** A control plane. */
export interface ControlPlane {
    /**
     * Its view of the servers in these slots, by the slots' names; "unknown" where it cannot tell.
     *
     * @throws Error when it does not answer at all.
     */
    servers(slots: readonly Slot[], signal: AbortSignal): Promise<Map<string, ControlPlaneView>>;
}

/** The fields used of a machine's record, which its supervisor writes. */
const recordSchema = z.object({
    incarnation: z.string(),
    pid: z.number().int().positive(),
    /** Field 22 of /proc/PID/stat. Pids are used again; together with this they are unique. */
    startTime: z.string(),
    /** ISO 8601. */
    createdAt: z.string(),
});

/**
 * The machines of this computer. A server is active while the process of its record runs.
 *
 * @param machines the folder of all machines. Without it the control plane throws: a wrong path must not look like the
 *        loss of the whole pool.
 */
export function localControlPlane(machines: string, proc = "/proc"): ControlPlane {
    return {
        async servers(slots) {
            if (!(await isDirectory(machines))) throw new Error(`there is no folder ${machines}`);
            const views = slots.map(async (slot) => [slot.name, await viewOf(slot, machines, proc)] as const);
            return new Map(await Promise.all(views));
        },
    };
}

async function viewOf(slot: Slot, machines: string, proc: string): Promise<ControlPlaneView> {
    try {
        const text = await unlessMissing(readFile(join(machines, slot.name, "machine.json"), "utf8"));
        if (text === undefined) return { state: "gone", detail: "it has no record" };
        const record = recordSchema.parse(JSON.parse(text));
        if (record.incarnation !== slot.serverId) {
            return { state: "gone", detail: `${record.incarnation} has taken its place` };
        }
        const running = await startTimeOf(record.pid, proc);
        if (running !== record.startTime) return { state: "gone", detail: `process ${record.pid} has ended` };
        const activeSince = Date.parse(record.createdAt) / 1000;
        return Number.isFinite(activeSince) ? { state: "active", activeSince } : { state: "active" };
    } catch (error) {
        return { state: "unknown", detail: (error as Error).message };
    }
}

/** The start time of a running process; undefined when there is none, or it is a zombie. */
async function startTimeOf(pid: number, proc: string): Promise<string | undefined> {
    const text = await unlessMissing(readFile(join(proc, String(pid), "stat"), "utf8"));
    if (text === undefined) return undefined;
    // The second field is the command's name in parentheses, which may hold spaces and parentheses itself.
    const [state, ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return state === "Z" || state === "X" ? undefined : rest[18];
}

/** What was read; undefined when there is no such file, or its process ended while it was read. */
async function unlessMissing(read: Promise<string>): Promise<string | undefined> {
    return read.catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT" || error.code === "ESRCH") return undefined;
        throw error;
    });
}

async function isDirectory(path: string): Promise<boolean> {
    return stat(path).then(
        (found) => found.isDirectory(),
        () => false,
    );
}
