/**
 * Two pools of gateways with different services in one stack, on this computer. Each has a target of its own, and so its own
 * network, Consul servers, balancers and replacement loop. Only the target would be another one on a cloud.
 */
import * as pulumi from "@pulumi/pulumi";
import {
    filesFromSources,
    GatewayPool,
    type GatewayService,
    LoadBalancer,
    LocalTarget,
    ServiceDiscovery,
} from "gateway";

/** Which /24 of this computer's loopback addresses each pool has, and what it runs. */
const POOLS = {
    orders: { network: "127.91.0.0/24", service: sample("orders", 9190, { framed: true }) },
    search: { network: "127.92.0.0/24", service: sample("search", 9290, { framed: false, service: "GatewayApi" }) },
} as const;

async function deploy() {
    const files = filesFromSources(__dirname);
    const names = new pulumi.Config().requireObject<(keyof typeof POOLS)[]>("pools");
    return Object.fromEntries(
        names.map((name) => {
            const { network, service } = POOLS[name];
            const target = new LocalTarget(name, { network, files });
            const discovery = new ServiceDiscovery(`${name}-discovery`, {
                target,
                servers: 1,
                datacenter: "dc1",
                balancers: 1,
                gatewayService: service.name,
            });
            const balancers = new LoadBalancer(`${name}-balancer`, {
                target,
                discovery,
                stack: "consul-template-haproxy",
                balancers: 1,
                port: service.port,
                slots: 16,
                drainSeconds: 30,
                service,
            });
            const pool = new GatewayPool(`${name}-pool`, {
                target,
                size: 2,
                service,
                discovery,
                balancers,
                replacement: {},
            });
            return [name, { endpoints: balancers.endpoints, gateways: pool.endpoints }];
        }),
    );
}

/** The sample server that comes with the package, as a service of a pool. */
function sample(name: string, port: number, speaks: { framed: boolean; service?: string }): GatewayService {
    return {
        name,
        port,
        install: { kind: "sample" },
        argv: [],
        environment: {},
        healthCheck: { kind: "thrift", method: "ping", ...speaks },
        maxConnections: 1000,
        stopTimeoutSeconds: 30,
    };
}

// A function, not a body: the replacement loop runs the program several times in one process.
export = deploy;
