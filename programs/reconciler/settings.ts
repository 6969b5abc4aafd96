/** The reconciler's settings. Paths are those of the machine's layout. */
export interface ReconcilerSettings {
    /** The backend list (JSON, see `backends.ts`), replaced by renaming. */
    readonly list: string;
    /** The networks of the gateways, in CIDR notation. A backend with another address is refused. Default: anywhere. */
    readonly networks?: readonly string[];
    /** HAProxy's runtime API, a Unix socket. */
    readonly socket: string;
    /** How HAProxy takes over another configuration; see `reloadBalancer.ts`. */
    readonly reload: {
        /** The program HAProxy. */
        readonly program: string;
        /** Its configuration. */
        readonly config: string;
        /** File that hands the servers' state over. It exists only during a reload. */
        readonly state: string;
    };
    /** HAProxy's backend whose slots are managed. */
    readonly backend: string;
    /** File that survives a restart of the machine; see `lastBackends.ts`. */
    readonly memory: string;
    /** File with the reconciler's status for people and programs; see `status.ts`. */
    readonly status: string;
    /** The longest time that a removed backend keeps its sessions, milliseconds. */
    readonly drainTimeout: number;
    /** The longest time that a stopping balancer waits for its sessions to end, milliseconds. */
    readonly stopTimeout: number;
    /** HAProxy's counter of a server whose last check passed: rise + fall - 1. */
    readonly fullHealth: number;
    /** Connections that one backend may have at a time. */
    readonly maxConnections: number;
    /** Whether a backend that is down keeps its sessions, in the hope that it only paused. Default false: they are ended. */
    readonly keepsSessions?: boolean;
}
