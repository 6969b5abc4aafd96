import * as consul from "@pulumi/consul";
import * as pulumi from "@pulumi/pulumi";
import type { GatewayService } from "../config";
import type { ServiceDiscovery } from "./serviceDiscovery";

/** Arguments of {@link ConsulObjects}. */
export interface ConsulObjectsArgs {
    readonly discovery: ServiceDiscovery;
    readonly service: GatewayService;
}

/**
 * Objects in Consul that no machine needs to boot: the operators' policy and token, a description of the deployment,
 * and a query for the healthy gateways.
 */
export class ConsulObjects extends pulumi.ComponentResource {
    /** A token for operators: it reads everything and may pause the replacement loop. Secret. */
    readonly operatorToken: pulumi.Output<string>;

    constructor(name: string, args: ConsulObjectsArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:ConsulObjects", name, {}, opts);
        const { discovery, service } = args;
        const { consul: servers } = discovery;
        if (!servers) throw new pulumi.ResourceError("its discovery has no Consul", this);
        // Depends on the machines, so that the provider is configured only once they are up.
        const up = pulumi.all(discovery.machines.map((machine) => machine.id));
        const address = pulumi.all([servers.api, up]).apply(([api]) => api[0] ?? "");
        const provider =
            this.getProvider("consul:index:Provider") ??
            new consul.Provider(
                `${name}-provider`,
                {
                    address,
                    scheme: "https",
                    caPem: servers.cluster.caCertificate,
                    datacenter: servers.cluster.datacenter,
                    token: discovery.secrets.apply((secrets) => secrets.managementToken ?? ""),
                },
                { parent: this, dependsOn: [discovery] },
            );
        // They go with the servers, and must not prevent the removal of servers that no longer answer.
        const child = { parent: this, provider, ...(discovery.machines[0] && { deletedWith: discovery.machines[0] }) };
        const policy = new consul.AclPolicy(
            `${name}-operator`,
            {
                name: "operator",
                description: "operators: reads everything, pauses the replacement loop",
                rules: [
                    'node_prefix "" { policy = "read" }',
                    'service_prefix "" { policy = "read" }',
                    'agent_prefix "" { policy = "read" }',
                    'session_prefix "" { policy = "read" }',
                    'query_prefix "" { policy = "read" }',
                    'key_prefix "gateway/" { policy = "read" }',
                    'key_prefix "gateway/replacement/" { policy = "write" }',
                    'operator = "read"',
                ].join("\n"),
            },
            child,
        );
        // The token exists from the first boot on. A token resource would be read from Consul at every run, and while
        // that one server is away nothing could be deployed or replaced.
        const tokenId = discovery.secrets.apply((secrets) => secrets.operatorTokenAccessor ?? "");
        new consul.AclTokenPolicyAttachment(`${name}-operator`, { tokenId, policy: policy.name }, child);
        new consul.KeyPrefix(
            `${name}-deployment`,
            { pathPrefix: "gateway/deployment/", subkeys: { service: service.name, port: String(service.port) } },
            child,
        );
        new consul.PreparedQuery(
            `${name}-gateways`,
            { name: "gateways", service: service.name, onlyPassing: true },
            child,
        );
        this.operatorToken = discovery.secrets.apply((secrets) => secrets.operatorToken ?? "");
        this.registerOutputs({ operatorToken: this.operatorToken });
    }
}
