/**
 * The epoch that a new server bears in its metadata: which leader had it made. When two leaders' servers meet in one
 * slot, it tells which of them is the later.
 *
 * The loop runs the deployment's program in its own process, so the stamp is handed over in the environment. A
 * component gives a slot's server `stampOf(slot)` as metadata, and ignores changes of it where `fresh` is not set: so
 * nobody's deployment changes the stamp of a server that stays.
 */

/** Key of the metadata that holds the epoch. */
export const epochKey = "gateway-epoch";
/** Key of the metadata that holds the slot's name, and the one that holds the deployment's (its stack's name). */
export const slotKey = "gateway-slot";
export const deploymentKey = "gateway-deployment";

const VARIABLE = "GATEWAY_STAMP";

/** Which slot is being replaced, and the epoch of the leader that does it. */
export interface Stamp {
    readonly slot: string;
    readonly epoch: number;
}

/** The stamp for a slot's server. */
export interface SlotStamp {
    /** Value of {@link epochKey}; "0" for a server that no leader of the loop has made. */
    readonly epoch: string;
    /** Whether this slot is being replaced now, by this process; otherwise changes of the epoch are to be ignored. */
    readonly fresh: boolean;
}

/** What a component stamps on a slot's server. */
export function stampOf(slot: string, environment: NodeJS.ProcessEnv = process.env): SlotStamp {
    const [name, epoch] = (environment[VARIABLE] ?? "").split("=");
    return name === slot && epoch !== undefined ? { epoch, fresh: true } : { epoch: "0", fresh: false };
}

/** Runs `work` with the stamp in the environment of this process. */
export async function withStamp<T>(stamp: Stamp | undefined, work: () => Promise<T>): Promise<T> {
    if (!stamp) return work();
    process.env[VARIABLE] = `${stamp.slot}=${stamp.epoch}`;
    try {
        return await work();
    } finally {
        delete process.env[VARIABLE];
    }
}
