import { type Layout, secretRef } from "../programs/machine";
import {
    agentFiles,
    agentRole,
    agentSettings,
    type ConsulCluster,
    consulApi,
    consulPaths,
    consulPorts,
    consulUser,
} from "./consul";
import { consulAcl } from "./consulAcl";
import { mergeRoles, type Role } from "./role";

/** What a Consul server needs beyond what every agent knows. */
export interface ConsulServerArgs {
    readonly cluster: ConsulCluster;
    /** The servers' certificate, PEM. It is public; its key is the secret `serverKey`. */
    readonly certificate: string;
    /** The name under which the gateway is registered. */
    readonly gatewayService: string;
    /**
     * Whether a replacement with an empty disk may arrive before gossip notices that the old machine is gone. It must
     * then be the same node, because Consul reserves a name for the node that holds it. Otherwise the replacement is a
     * new node, and votes only once it has caught up: Raft must not count on an empty disk for what the old one had
     * stored. Default false.
     */
    readonly keepsNodeId?: boolean;
    /** The bundled program that creates the tokens of the roles. */
    readonly aclBundle: { readonly file: string; readonly sha256: string };
}

/**
 * A Consul server with TLS, gossip encryption and ACLs that deny by default, and the task that creates the roles'
 * tokens once there is a leader.
 */
export function consulServer(args: ConsulServerArgs, layout: Layout): Role {
    const { cluster } = args;
    const paths = consulPaths(layout);
    const sameNode = agentSettings(cluster, layout, "serverAgentToken");
    const { node_id: _, ...newNode } = sameNode;
    const common = args.keepsNodeId ? sameNode : newNode;
    const settings = {
        ...common,
        server: true,
        bootstrap_expect: cluster.servers,
        ui_config: { enabled: true },
        // The server's production setting; the default of 5 makes elections five times slower.
        performance: { raft_multiplier: 1 },
        autopilot: { min_quorum: cluster.servers },
        auto_encrypt: { allow_tls: true },
        acl: { ...common.acl, tokens: { ...common.acl.tokens, initial_management: secretRef("managementToken") } },
        addresses: { https: layout.address },
        ports: { ...common.ports, https: consulPorts.https, server: consulPorts.server, serf_wan: -1 },
        tls: {
            defaults: {
                ca_file: paths.ca,
                cert_file: paths.certificate,
                key_file: paths.key,
                verify_incoming: true,
                verify_outgoing: true,
            },
            internal_rpc: { verify_server_hostname: true },
            // Callers of the API present a token, not a certificate.
            https: { verify_incoming: false },
        },
    };
    const server: Role = {
        ...agentRole("consul-server", cluster, layout),
        files: [
            ...agentFiles(cluster, layout, settings),
            { path: paths.certificate, content: args.certificate },
            { path: paths.key, content: secretRef("serverKey"), owner: consulUser },
        ],
        ports: [
            { name: "consul-rpc", port: consulPorts.server, protocol: "tcp", reach: "deployment" },
            { name: "consul-gossip", port: consulPorts.gossip, protocol: "both", reach: "deployment" },
            { name: "consul-http", port: consulPorts.http, protocol: "tcp", reach: "machine" },
            { name: "consul-https", port: consulPorts.https, protocol: "tcp", reach: "deployment" },
        ],
        healthChecks: [
            {
                name: "consul",
                probe: { kind: "http", url: `http://${consulApi(layout)}/v1/status/leader`, status: 200 },
            },
        ],
    };
    return mergeRoles("consul-server", server, consulAcl(args, layout));
}
