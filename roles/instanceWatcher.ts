import { unitName } from "./render/systemd";
import type { Layout, Role } from "./role";

/** What the program reads. */
export interface WatcherSettings {
    /** URL of the metadata service, if not the usual one. */
    readonly metadata?: string;
    /** Pause between two rounds, milliseconds. */
    readonly interval: number;
    /** Units that are stopped, in order, when the instance is about to go: the stop drains. */
    readonly drain: readonly string[];
    /** What a rebalance recommendation does. */
    readonly onRebalance: "report" | "drain";
    /** The lifecycle hook that holds the instance until it has drained; undefined: there is none. */
    readonly hook?: LifecycleHook;
    /** The folder whose file system must take what is written, and the units that are stopped while it does not. */
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

/** What a watcher needs. */
export interface InstanceWatcherArgs {
    /**
     * Names of the services that are stopped, in order, before the instance goes; each one's `beforeStop` drains it.
     * For a gateway: `gateway`.
     */
    readonly drain: readonly string[];
    /** Names of the services by which others tell that the machine is healthy. For a gateway: `gateway-health`. */
    readonly health: readonly string[];
    /**
     * `report` (the default) leaves it to the group's capacity rebalance, which first makes another instance and then
     * ends this one by the lifecycle hook. `drain` acts at once; as all instances of a kind tend to get the
     * recommendation at the same time, that can empty a pool.
     */
    readonly onRebalance?: "report" | "drain";
    /** The instance's role has to allow `autoscaling:CompleteLifecycleAction` on the group. */
    readonly hook?: LifecycleHook;
    /** URL of the metadata service, if not the usual one. */
    readonly metadata?: string;
    /** The bundled program `programs/instanceWatcher.ts`. */
    readonly bundle: { readonly file: string; readonly sha256: string };
}

/** Pause between two rounds, milliseconds. Notices come two minutes ahead; AWS suggests to look every 5 seconds. */
const INTERVAL = 2_000;

/**
 * Watches what EC2 has in mind for the instance, and whether its disk takes what is written: drains the instance before
 * it goes, and makes it count as unhealthy when it cannot work.
 */
export function instanceWatcher(args: InstanceWatcherArgs, layout: Layout): Role {
    const path = `${layout.etc}/instance-watcher.json`;
    const settings: WatcherSettings = {
        ...(args.metadata ? { metadata: args.metadata } : {}),
        interval: INTERVAL,
        drain: args.drain.map(unitName),
        onRebalance: args.onRebalance ?? "report",
        ...(args.hook ? { hook: args.hook } : {}),
        disk: { folder: layout.lib, stop: args.health.map(unitName) },
    };
    return {
        name: "instance-watcher",
        files: [{ path, content: `${JSON.stringify(settings, undefined, 2)}\n` }],
        services: [
            {
                name: "instance-watcher",
                description: "Drains the instance before it goes",
                argv: [`${layout.bin}/node`, `${layout.bin}/instance-watcher.cjs`, path],
                environment: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
                // Only root may stop other units, and only with this.
                user: "root",
                capabilities: ["CAP_SYS_ADMIN"],
                usesCloud: true,
            },
        ],
        binaries: [
            { name: "node", source: { kind: "node" } },
            { name: "instance-watcher.cjs", source: { kind: "bundle", ...args.bundle } },
        ],
        users: [],
        ports: [],
        healthChecks: [],
    };
}
