import { createHash } from "node:crypto";
import { instanceRefs, type Layout, type RoleFile, secretRef } from "../programs/machine";
import type { Role } from "./role";

/** The ports of Consul that this project uses; the numbers are Consul's defaults, HTTPS the customary one. */
export const consulPorts = { server: 8300, gossip: 8301, http: 8500, https: 8501 } as const;

/** What every Consul agent of a deployment needs to know, server or client. */
export interface ConsulCluster {
    readonly datacenter: string;
    /** Where to find the servers: addresses or, on a cloud, an auto-join expression. */
    readonly join: readonly string[];
    /** How many servers there are: 1, 3 or 5. */
    readonly servers: number;
    /** The authority's certificate, PEM. It is public. */
    readonly caCertificate: string;
    /** Version of the tool `consul`. */
    readonly version: string;
}

/** The system user that Consul runs as. */
export const consulUser = "consul";

/** Where the files of Consul are on a machine. */
export function consulPaths(layout: Layout) {
    const etc = `${layout.etc}/consul`;
    return {
        binary: `${layout.bin}/consul`,
        config: `${etc}/agent.json`,
        ca: `${etc}/ca.pem`,
        certificate: `${etc}/server.pem`,
        key: `${etc}/server-key.pem`,
        data: `${layout.lib}/consul`,
    };
}

/**
 * The address of the agent's HTTP API, for use on the machine itself.
 */
export function consulApi(layout: Layout): string {
    return `${layout.localAddress}:${consulPorts.http}`;
}

/** Settings that servers and clients share. `agentToken` names the secret that holds the agent's own token. */
export function agentSettings(cluster: ConsulCluster, layout: Layout, agentToken: string) {
    const paths = consulPaths(layout);
    return {
        datacenter: cluster.datacenter,
        node_name: layout.machine,
        // An instance whose name is known only at boot is new each time, so Consul makes up its id.
        ...(instanceRefs(layout.machine).length > 0 ? {} : { node_id: nodeId(layout.machine) }),
        data_dir: paths.data,
        bind_addr: layout.address,
        client_addr: layout.localAddress,
        retry_join: cluster.join,
        retry_interval: "1s",
        encrypt: secretRef("gossipKey"),
        disable_update_check: true,
        acl: {
            enabled: true,
            default_policy: "deny",
            // While no server answers, what was allowed stays allowed.
            down_policy: "extend-cache",
            enable_token_persistence: true,
            tokens: { agent: secretRef(agentToken) },
        },
        ports: { http: consulPorts.http, dns: -1, grpc: -1, grpc_tls: -1, serf_lan: consulPorts.gossip },
    };
}

/** The agent's files: its settings, and the authority's certificate. */
export function agentFiles(cluster: ConsulCluster, layout: Layout, settings: object): RoleFile[] {
    const paths = consulPaths(layout);
    return [
        { path: paths.config, content: `${JSON.stringify(settings, undefined, 2)}\n`, owner: consulUser },
        { path: paths.ca, content: cluster.caCertificate },
    ];
}

/** The parts of a role that are the same for a server and a client agent. */
export function agentRole(
    name: string,
    cluster: ConsulCluster,
    layout: Layout,
): Pick<Role, "name" | "binaries" | "users" | "services"> {
    const paths = consulPaths(layout);
    return {
        name,
        binaries: [{ name: "consul", source: { kind: "tool", tool: "consul", version: cluster.version } }],
        users: [consulUser],
        services: [
            {
                name: "consul",
                description: "Consul agent",
                argv: [paths.binary, "agent", `-config-file=${paths.config}`],
                user: consulUser,
                // A client answers this once it has found a server, a server once it is up. It needs no token.
                ready: { kind: "http", url: `http://${consulApi(layout)}/v1/status/leader`, status: 200 },
                stopTimeoutSeconds: 10,
                // Auto-join asks the cloud's API for the servers.
                ...(cluster.join.some((where) => where.includes("provider=")) ? { usesCloud: true } : {}),
            },
        ],
    };
}

/**
 * A machine's node id, derived from its name, so that a replaced machine is the same node to Consul. Consul refuses a
 * second node id under one name until it has noticed that the first node died.
 */
function nodeId(machine: string): string {
    const hex = createHash("sha256").update(`gateway node ${machine}`).digest("hex");
    return [
        hex.slice(0, 8),
        hex.slice(8, 12),
        `4${hex.slice(13, 16)}`,
        `8${hex.slice(17, 20)}`,
        hex.slice(20, 32),
    ].join("-");
}
