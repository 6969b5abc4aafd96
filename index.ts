import { loadConfig } from "./components/config";
import { ConsulObjects } from "./components/consulObjects";
import { GatewayPool } from "./components/gatewayPool";
import { given, givenOutput } from "./components/given";
import { LoadBalancer } from "./components/loadBalancer";
import { registryOf, ServiceDiscovery } from "./components/serviceDiscovery";
import { makeTarget } from "./components/target";

/** The program: every target of the configuration gets its discovery, its balancers and its pool. */
async function deploy() {
    const config = loadConfig();
    const deployed = Object.fromEntries(
        config.targets.map((kind) => {
            const target = makeTarget(kind, config);
            const discovery = new ServiceDiscovery(`${kind}-discovery`, {
                target,
                registry: registryOf(config.loadBalancerStack),
                balancers: config.balancers,
                servers: config.discoveryServers,
                datacenter: config.datacenter,
                gatewayService: config.service.name,
            });
            const balancers = new LoadBalancer(`${kind}-balancer`, {
                target,
                discovery,
                stack: config.loadBalancerStack,
                balancers: config.balancers,
                port: config.balancerPort,
                slots: config.balancerSlots,
                drainSeconds: config.drainSeconds,
                service: config.service,
            });
            const pool = new GatewayPool(`${kind}-pool`, {
                target,
                size: config.poolSize,
                service: config.service,
                discovery,
                balancers,
                replacement: config.replacementEnabled ? config.replacementPolicy : undefined,
            });
            const consul =
                config.consulObjects && discovery.hasConsul
                    ? new ConsulObjects(`${kind}-consul`, { discovery, service: config.service })
                    : undefined;
            return [
                kind,
                {
                    endpoints: balancers.endpoints,
                    gateways: pool.endpoints,
                    balancerStatus: balancers.statusPages,
                    ...(discovery.hasConsul ? { consulUi: discovery.ui } : {}),
                    ...(consul ? { operatorToken: consul.operatorToken } : {}),
                },
            ];
        }),
    );
    // The replacement loop on a machine of a cloud has to make of it the very same resources.
    const isRepeated = config.replacementEnabled && config.targets.join() === "openstack";
    return isRepeated ? { ...deployed, [givenOutput]: given() } : deployed;
}

// A function, not a body: the engine may run the program several times in one process.
export = deploy;
