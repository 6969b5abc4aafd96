/** The settings file of the instance watcher. */

/** The instance watcher's settings. */
export interface WatcherSettings {
    /** URL of the metadata service, if not the usual one. */
    readonly metadata?: string;
    /** Pause between two rounds, milliseconds. */
    readonly interval: number;
    /** Units to stop, in order, when the instance is about to go. Stopping them drains the gateway. */
    readonly drain: readonly string[];
    /** What a rebalance recommendation does. */
    readonly onRebalance: "report" | "drain";
    /** The lifecycle hook that holds the instance until it has drained; undefined: there is none. */
    readonly hook?: LifecycleHook;
    /** A folder whose file system must accept writes, and the units to stop while it does not. */
    readonly disk: { readonly folder: string; readonly stop: readonly string[] };
}

/** A lifecycle hook of an AutoScaling group, for `autoscaling:EC2_INSTANCE_TERMINATING`. */
export interface LifecycleHook {
    readonly name: string;
    /** The AutoScaling group's name. */
    readonly group: string;
    readonly region: string;
    /** URL of the AutoScaling API, if not the usual one. */
    readonly endpoint?: string;
}
