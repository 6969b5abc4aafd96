import { sessionNode } from "../replacement/locks";
import { consulApi, consulUser } from "./consul";
import { fabioService } from "./loadBalancer/fabio";
import { type Layout, type Role, secretRef } from "./role";

/** One of the tokens that exist from the first boot on, and what it allows. */
export interface BootToken {
    /** Name of the secret that holds the token, and of its policy. */
    readonly secret: string;
    readonly description: string;
    /** Rules in Consul's policy language. Undefined: a token that may do nothing until it is given a policy. */
    readonly rules?: string;
}

/** What the task that creates the tokens reads. */
export interface AclSettings {
    /** HTTP API of the agent on the same machine. */
    readonly api: string;
    readonly managementToken: string;
    readonly tokens: readonly (BootToken & { readonly accessorId: string; readonly secretId: string })[];
}

/** The tokens that the roles start with: each allows what its role does, and nothing else. */
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
            ].join("\n"),
        },
        // Made here so that its value is known without asking Consul; its policy comes with the objects in Consul.
        { secret: "operatorToken", description: "operators" },
    ];
}

/** The secrets that `bootTokens` and the servers refer to, all of them tokens. */
export const tokenSecrets = ["managementToken", ...bootTokens("").map((token) => token.secret)] as const;

/**
 * The task that, once there is a leader, makes the roles' policies and tokens what they have to be. It changes
 * nothing when they are, so each server runs it at every start.
 */
export function consulAcl(
    args: {
        /** The name under which the gateway is registered. */
        readonly gatewayService: string;
        /** The bundled program `programs/consulAcl.ts`. */
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
        binaries: [
            { name: "node", source: { kind: "node" } },
            { name: "consul-acl.cjs", source: { kind: "bundle", ...args.aclBundle } },
        ],
        users: [consulUser],
        ports: [],
        healthChecks: [],
    };
}
