/** Serf: gossip between the balancers and the gateways, with which they know each other without any server. */
import { endpoint } from "./haproxy";
import { type Layout, type Role, secretRef } from "./role";

/** The ports of Serf: both are its defaults. */
export const serfPorts = { gossip: 7946, rpc: 7373 } as const;

/** The system user that the agent runs as. */
export const serfUser = "serf";

/** What every Serf agent of a deployment has to know. */
export interface SerfCluster {
    /** Addresses of members whose addresses do not change: those that others join. */
    readonly join: readonly string[];
    /** Version of the tool `serf`. */
    readonly version: string;
}

/** How the programs of a machine reach its agent. */
export interface SerfRpcAddress {
    readonly host: string;
    readonly port: number;
    /** The key that the agent asks for. */
    readonly authKey: string;
}

/** Tags by which members know what a member is. A gateway has its `port`, and `state=draining` while it is taken out. */
export const serfTags = {
    gateway: (port: number) => ({ role: "gw", port: String(port) }),
    balancer: { role: "lb" },
    draining: { state: "draining" },
} as const;

/** The user event with which a gateway tells the balancers to look: Serf delivers it at once, other than its own events. */
export const serfEvent = "gateway";

/** Where the machine's own programs find the agent. The key is a reference to a secret. */
export function serfRpc(layout: Layout): SerfRpcAddress {
    return { host: layout.localAddress, port: serfPorts.rpc, authKey: secretRef("serfRpcKey") };
}

/** A Serf agent with its tags. */
export function serfAgent(
    args: { readonly cluster: SerfCluster; readonly tags: Readonly<Record<string, string>> },
    layout: Layout,
): Role {
    const config = `${layout.etc}/serf/agent.json`;
    const { host, port, authKey } = serfRpc(layout);
    const others = args.cluster.join.filter((address) => address !== layout.address);
    const settings = {
        node_name: layout.machine,
        tags: args.tags,
        bind: endpoint(layout.address, serfPorts.gossip),
        rpc_addr: endpoint(host, port),
        rpc_auth: authKey,
        encrypt_key: secretRef("gossipKey"),
        profile: "lan",
        // A restarted agent finds the others again, even when none of those to join is there.
        snapshot_path: `${layout.lib}/serf.snapshot`,
        rejoin_after_leave: true,
        // Who has left is forgotten. One of those to join must not be: the others look for it until it is back, even when all
        // of those to join were gone at once.
        leave_on_terminate: others.length === args.cluster.join.length,
        // Not oneself, which succeeds at once and would be the last try.
        retry_join: others,
        retry_interval: "1s",
        // One that failed is looked for so often, and for so long.
        reconnect_interval: "5s",
        reconnect_timeout: "72h",
        log_level: "warn",
    };
    return {
        name: "serf-agent",
        files: [{ path: config, content: `${JSON.stringify(settings, undefined, 2)}\n`, owner: serfUser }],
        services: [
            {
                name: "serf",
                description: "Serf agent",
                argv: [`${layout.bin}/serf`, "agent", `-config-file=${config}`],
                user: serfUser,
                ready: { kind: "tcp", host, port },
            },
        ],
        binaries: [{ name: "serf", source: { kind: "tool", tool: "serf", version: args.cluster.version } }],
        users: [serfUser],
        ports: [
            { name: "serf-gossip", port: serfPorts.gossip, protocol: "both", reach: "deployment" },
            { name: "serf-rpc", port: serfPorts.rpc, protocol: "tcp", reach: "machine" },
        ],
        healthChecks: [],
    };
}
