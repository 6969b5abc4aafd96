/** The file in which the reconciler says how things are. */
import type { Backend } from "./backends";

/** Content of the status file; it is written anew whenever it changes. */
export interface ReconcilerStatus {
    /** The reconciler's process id. */
    readonly pid: number;
    /** HAProxy's process id; undefined while it does not answer. */
    readonly haproxy: number | undefined;
    /** The backends that should get calls: the last good list. */
    readonly backends: readonly Backend[];
    /** `address:port` by slot, for those that are not free. */
    readonly slots: Readonly<Record<string, string>>;
    /** `address:port` of those that get new connections. */
    readonly serving: readonly string[];
    /** The slots that drain. */
    readonly draining: readonly string[];
    /** What somebody should look at; empty when all is well. */
    readonly alarms: readonly string[];
}
