/** The reconciler's status file. */
import type { Backend } from "./backends";

/** Content of the status file. It is rewritten whenever it changes. */
export interface ReconcilerStatus {
    /** The reconciler's process id. */
    readonly pid: number;
    /** HAProxy's process id; undefined while it does not answer. */
    readonly haproxy: number | undefined;
    /** The backends that get calls: the last good list. */
    readonly backends: readonly Backend[];
    /** `address:port` by slot, for slots in use. */
    readonly slots: Readonly<Record<string, string>>;
    /** `address:port` of those that get new connections. */
    readonly serving: readonly string[];
    /** The slots that drain. */
    readonly draining: readonly string[];
    /** Alarms; empty when all is well. */
    readonly alarms: readonly string[];
}
