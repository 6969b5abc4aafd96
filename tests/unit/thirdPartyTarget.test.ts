/** A target that somebody else writes: it imports this package by its name, and nothing that the package does not export. */
import * as assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import {
    type BalancersArgs,
    type BalancersOutputs,
    type DiscoveryArgs,
    type DiscoveryOutputs,
    GatewayPool,
    type GatewayService,
    LoadBalancer,
    type PoolArgs,
    type PoolOutputs,
    registryBy,
    ServiceDiscovery,
    serfCluster,
    type Target,
} from "gateway";
import { run } from "./support/mocks";

/** A server of the cloud "acme". */
class Server extends pulumi.CustomResource {
    declare readonly address: pulumi.Output<string>;

    constructor(name: string, address: string, opts: pulumi.CustomResourceOptions) {
        super("acme:compute/server:Server", name, { address }, opts);
    }
}

class AcmeProvider extends pulumi.ProviderResource {
    constructor(name: string, opts: pulumi.ResourceOptions) {
        super("acme", name, {}, opts);
    }
}

/** Its escape hatches. */
interface AcmeDiscovery {
    readonly rack: string;
}
interface AcmePool {
    readonly servers: readonly Server[];
    readonly rack: string;
}

class AcmeTarget extends pulumi.ComponentResource implements Target<AcmeDiscovery, undefined, AcmePool> {
    readonly providers: readonly pulumi.ProviderResource[];

    constructor(
        name: string,
        private readonly rack: string,
    ) {
        super("acme:index:Target", name);
        this.providers = [new AcmeProvider(`${name}-provider`, { parent: this })];
    }

    serviceDiscovery(_name: string, { datacenter }: DiscoveryArgs): DiscoveryOutputs<AcmeDiscovery> {
        return {
            registry: pulumi.output(registryBy.serf(serfCluster(["10.0.0.1"]))),
            secrets: pulumi.secret<Record<string, string>>({ gossipKey: "key" }),
            machines: [],
            resources: { rack: `${this.rack} of ${datacenter}` },
        };
    }

    loadBalancer(
        name: string,
        { port, discovery }: BalancersArgs<AcmeDiscovery>,
        parent: pulumi.ComponentResource,
    ): BalancersOutputs<undefined> {
        const server = new Server(`${name}-0`, "10.0.0.1", { parent, dependsOn: [discovery] });
        return {
            endpoints: server.address.apply((address) => [`${address}:${port}`]),
            statusPages: pulumi.output([]),
            machines: [server],
            resources: undefined,
        };
    }

    gatewayPool(
        name: string,
        { size, service, discovery, balancers }: PoolArgs<AcmeDiscovery>,
        parent: pulumi.ComponentResource,
    ): PoolOutputs<AcmePool> {
        const servers = [...Array(size).keys()].map(
            (index) => new Server(`${name}-${index}`, `10.0.0.${10 + index}`, { parent, dependsOn: [balancers] }),
        );
        return {
            endpoints: pulumi
                .all(servers.map(({ address }) => address))
                .apply((all) => all.map((address) => `${address}:${service.port}`)),
            machines: servers,
            resources: { servers, rack: discovery.resources.rack },
        };
    }
}

const service: GatewayService = {
    name: "calls",
    port: 9190,
    install: { kind: "prebaked" },
    argv: ["/usr/bin/server"],
    environment: {},
    healthCheck: { kind: "tcp" },
    maxConnections: 100,
    stopTimeoutSeconds: 10,
};

describe("a target of somebody else's", () => {
    it("gets the components with its own resources, providers and types", async () => {
        const { resources, result } = await run(() => {
            const target = new AcmeTarget("acme", "rack 7");
            const discovery = new ServiceDiscovery("acme-discovery", {
                ...{ target, registry: "serf", balancers: 1, servers: 1, datacenter: "dc1", gatewayService: "calls" },
            });
            const balancers = new LoadBalancer("acme-balancer", {
                ...{ target, discovery, stack: "serf-haproxy", service },
                ...{ balancers: 1, port: 7000, slots: 16, drainSeconds: 30 },
            });
            const pool = new GatewayPool("acme-pool", {
                ...{ target, size: 2, service, discovery, balancers, replacement: undefined },
            });
            // Typed: the escape hatches are the target's own.
            const [first] = pool.resources.servers;
            return {
                endpoints: balancers.endpoints,
                gateways: pool.endpoints,
                rack: pool.resources.rack,
                first: first?.address,
            };
        });
        assert.deepEqual(result, {
            endpoints: ["10.0.0.1:7000"],
            gateways: ["10.0.0.10:9190", "10.0.0.11:9190"],
            rack: "rack 7 of dc1",
            first: "10.0.0.10",
        });
        const servers = resources.filter(({ type }) => type.startsWith("acme:compute"));
        assert.deepEqual(
            servers.map(({ name, parent, provider }) => [name, parent, provider]),
            [
                ["acme-balancer-0", "acme-balancer", "acme-provider"],
                ["acme-pool-0", "acme-pool", "acme-provider"],
                ["acme-pool-1", "acme-pool", "acme-provider"],
            ],
        );
    });
});
