/** Serf: gossip by which balancers and gateways find each other without any server. */
import type { SerfRpcAddress } from "../clients/serf";
import { endpoint } from "../lib/endpoint";
import { type Layout, secretRef } from "../programs/machine";
import type { Role } from "./role";

/** The ports of Serf: both are its defaults. */
export const serfPorts = { gossip: 7946, rpc: 7373 } as const;

/** The system user that the agent runs as. */
export const serfUser = "serf";

/** What every Serf agent of a deployment needs to know. */
export interface SerfCluster {
    /** Addresses to join: those of members whose addresses do not change. */
    readonly join: readonly string[];
    /** Version of the tool `serf`. */
    readonly version: string;
}

/** Where the machine's own programs reach the agent. The key is a reference to a secret. */
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
        // A restarted agent rejoins the others, even if none of the addresses to join answers.
        snapshot_path: `${layout.lib}/serf.snapshot`,
        rejoin_after_leave: true,
        // A member that has left is forgotten. A member that others join must not be: the others look for it until it
        // is back, even if all of them were gone at once.
        leave_on_terminate: others.length === args.cluster.join.length,
        // Not itself: that would succeed at once and end the retries.
        retry_join: others,
        retry_interval: "1s",
        // How often, and for how long, the agent tries to reach a failed member.
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
