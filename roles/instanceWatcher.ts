import { unitName } from "../programs/boot/units";
import type { LifecycleHook, WatcherSettings } from "../programs/instance-watcher/settings";
import type { Layout } from "../programs/machine";
import { nodeBinary } from "./node";
import type { Role } from "./role";

/** What a watcher needs. */
export interface InstanceWatcherArgs {
    /**
     * Services to stop, in order, before the instance goes. The `beforeStop` of each one drains it. For a gateway:
     * `gateway`.
     */
    readonly drain: readonly string[];
    /** Services by which others judge the machine's health. For a gateway: `gateway-health`. */
    readonly health: readonly string[];
    /**
     * `report` (the default) leaves it to the group's capacity rebalance, which launches another instance first and
     * then ends this one by the lifecycle hook. `drain` acts at once. All instances of a type tend to get the
     * recommendation together, so that can empty a pool.
     */
    readonly onRebalance?: "report" | "drain";
    /** The instance's role must allow `autoscaling:CompleteLifecycleAction` on the group. */
    readonly hook?: LifecycleHook;
    /** URL of the metadata service, if not the usual one. */
    readonly metadata?: string;
    /** The bundled program `programs/instance-watcher`. */
    readonly bundle: { readonly file: string; readonly sha256: string };
}

/** Pause between two rounds, milliseconds. Notices come two minutes ahead; AWS suggests polling every 5 seconds. */
const INTERVAL = 2_000;

/**
 * Watches EC2's notices for the instance and whether its disk accepts writes. Drains the instance before it goes, and
 * makes it unhealthy when it cannot work.
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
                // Only root may stop other units, and only with this.
                user: "root",
                capabilities: ["CAP_SYS_ADMIN"],
                usesCloud: true,
            },
        ],
        binaries: [nodeBinary, { name: "instance-watcher.cjs", source: { kind: "bundle", ...args.bundle } }],
        users: [],
        ports: [],
        healthChecks: [],
    };
}
