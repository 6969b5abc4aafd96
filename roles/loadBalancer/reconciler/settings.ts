/** What the reconciler is told; paths are those of the machine's layout. */
export interface ReconcilerSettings {
    /** The backend list (JSON, see `backends.ts`), replaced by renaming. */
    readonly list: string;
    /** HAProxy's runtime API, a Unix socket. */
    readonly socket: string;
    /** HAProxy's backend whose slots are managed. */
    readonly backend: string;
    /** HAProxy's frontend that clients call. */
    readonly frontend: string;
    /** File of what has to survive a restart of the machine; see `memory.ts`. */
    readonly memory: string;
    /** File that tells people and programs how things are; see `status.ts`. */
    readonly status: string;
    /** A backend that was removed keeps its sessions for this long at most, milliseconds. */
    readonly drainTimeout: number;
    /** A stopping balancer waits this long at most for its sessions to end, milliseconds. */
    readonly stopTimeout: number;
    /** HAProxy's counter of a server whose last check passed: rise + fall - 1. */
    readonly fullHealth: number;
    /** Connections that one backend may have at a time. */
    readonly maxConnections: number;
}
