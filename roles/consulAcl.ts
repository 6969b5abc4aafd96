import type { AclSettings, BootToken } from "../programs/consul-acl/settings";
import { type Layout, secretRef } from "../programs/machine";
import { sessionNode } from "../replacement/leaderLocks";
import { consulApi, consulUser } from "./consul";
import { fabioService } from "./loadBalancer/fabio";
import { nodeBinary } from "./node";
import type { Role } from "./role";

/** The tokens that exist from the first boot on. Each allows what its role does and nothing else. */
export function bootTokens(gatewayService: string): BootToken[] {
    return [
        {
            secret: "serverAgentToken",
            description: "agents of the Consul servers",
            rules: 'node_prefix "consul-" { policy = "write" }',
        },
        {
            secret: "balancerAgentToken",
            description: "agents of the balancers",
            rules: 'node_prefix "lb-" { policy = "write" }',
        },
        {
            secret: "gatewayAgentToken",
            description: "agents of the gateways, which register the gateway",
            rules: `node_prefix "gw-" { policy = "write" }\nservice "${gatewayService}" { policy = "write" }`,
        },
        {
            secret: "balancerToken",
            description: "the balancers' view of the catalog",
            rules: 'node_prefix "" { policy = "read" }\nservice_prefix "" { policy = "read" }',
        },
        {
            secret: "fabioToken",
            description: "the balancers with Fabio: the catalog, their settings, and their own registration",
            rules: [
                'node_prefix "" { policy = "read" }',
                'service_prefix "" { policy = "read" }',
                'agent_prefix "lb-" { policy = "read" }',
                `key_prefix "${fabioService}" { policy = "read" }`,
                `service "${fabioService}" { policy = "write" }`,
            ].join("\n"),
        },
        {
            secret: "replacerToken",
            description: "the replacement loop: the catalog, its own notes, and its leader's lock",
            rules: [
                'node_prefix "" { policy = "read" }',
                'service_prefix "" { policy = "read" }',
                'key_prefix "gateway/replacement/" { policy = "write" }',
                `node "${sessionNode}" { policy = "write" }`,
                `session "${sessionNode}" { policy = "write" }`,
                // To notice that the gossip key was changed outside of the deployment.
                'keyring = "read"',
            ].join("\n"),
        },
        // Created here so that its value is known without asking Consul. Its policy comes with the objects in Consul.
        { secret: "operatorToken", description: "operators" },
    ];
}

/** Names of the secrets that hold tokens: the management token and those of {@link bootTokens}. */
export const tokenSecrets = ["managementToken", ...bootTokens("").map((token) => token.secret)] as const;

/**
 * A task that creates and corrects the roles' policies and tokens once Consul has a leader. It changes nothing that is
 * already right, so each server runs it at every start.
 */
export function consulAcl(
    args: {
        /** The name under which the gateway is registered. */
        readonly gatewayService: string;
        /** The bundled program `programs/consul-acl`. */
        readonly aclBundle: { readonly file: string; readonly sha256: string };
    },
    layout: Layout,
): Role {
    const path = `${layout.etc}/consul-acl.json`;
    const settings: AclSettings = {
        api: `http://${consulApi(layout)}`,
        managementToken: secretRef("managementToken"),
        tokens: bootTokens(args.gatewayService).map((token) => ({
            ...token,
            accessorId: secretRef(`${token.secret}Accessor`),
            secretId: secretRef(token.secret),
        })),
    };
    return {
        name: "consul-acl",
        files: [{ path, content: `${JSON.stringify(settings, undefined, 2)}\n`, owner: consulUser }],
        services: [
            {
                name: "consul-acl",
                description: "Policies and tokens of the roles",
                type: "oneshot",
                argv: [`${layout.bin}/node`, `${layout.bin}/consul-acl.cjs`, path],
                user: consulUser,
                after: ["consul"],
            },
        ],
        binaries: [nodeBinary, { name: "consul-acl.cjs", source: { kind: "bundle", ...args.aclBundle } }],
        users: [consulUser],
        ports: [],
        healthChecks: [],
    };
}
