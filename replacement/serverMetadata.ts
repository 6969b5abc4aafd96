/**
 * Server metadata: deployment, slot, and the epoch of the leader that created the server. When two leaders' servers
 * meet in one slot, the epoch tells which is the later one.
 *
 * The loop runs the deployment's program in its own process and passes the epoch in the environment. A component sets
 * `slotMetadata(slot)` on a slot's server and ignores changes of the epoch unless `fresh` is set, so no deployment
 * changes the epoch of a server that stays.
 */

/** Metadata key of the epoch. */
export const epochKey = "gateway-epoch";
/** Metadata key of the slot's name. */
export const slotKey = "gateway-slot";
/** Metadata key of the deployment's name, which is its stack's. */
export const deploymentKey = "gateway-deployment";

const VARIABLE = "GATEWAY_REPLACEMENT_EPOCH";

/** Environment of the engine's runs by the loop. The processes of providers inherit it. */
export const replacementEnvironment = { GATEWAY_REPLACEMENT_RUN: "true" } as const;

/** Whether the loop's engine runs this process, to replace one server. Otherwise it is a deployment. */
export function isReplacement(environment: NodeJS.ProcessEnv = process.env): boolean {
    return environment.GATEWAY_REPLACEMENT_RUN === replacementEnvironment.GATEWAY_REPLACEMENT_RUN;
}

/** The slot that is being replaced, and the epoch of the leader that replaces it. */
export interface ReplacementEpoch {
    readonly slot: string;
    readonly epoch: number;
}

/** Metadata of a slot's server. */
export interface SlotMetadata {
    /** Value of {@link epochKey}; "0" for a server that no leader created. */
    readonly epoch: string;
    /** Whether this process is replacing the slot now. Otherwise, ignore changes of the epoch. */
    readonly fresh: boolean;
}

/** The metadata that a component sets on a slot's server. */
export function slotMetadata(slot: string, environment: NodeJS.ProcessEnv = process.env): SlotMetadata {
    const [name, epoch] = (environment[VARIABLE] ?? "").split("=");
    return name === slot && epoch !== undefined ? { epoch, fresh: true } : { epoch: "0", fresh: false };
}

/** Runs `work` with the replacement's epoch in the environment of this process. */
export async function withEpoch<T>(replacement: ReplacementEpoch | undefined, work: () => Promise<T>): Promise<T> {
    if (!replacement) return work();
    process.env[VARIABLE] = `${replacement.slot}=${replacement.epoch}`;
    try {
        return await work();
    } finally {
        delete process.env[VARIABLE];
    }
}
