import { ConsulObjects } from "./components/consulObjects";
import { GatewayPool } from "./components/gatewayPool";
import { LoadBalancer } from "./components/loadBalancer";
import { filesAsDeployed, filesFromSources } from "./components/programFiles";
import { registryOf, ServiceDiscovery } from "./components/serviceDiscovery";
import { makeTarget } from "./components/targets";
import { loadConfig } from "./config";
import { type DeployedInputs, deployedInputsOutput } from "./programs/replacer/deployedInputs";

/**
 * The program: every target of the configuration gets its discovery, its balancers and its pool.
 *
 * @param inputs of an earlier deployment, to use instead of what is on this computer.
 */
async function deploy(inputs?: DeployedInputs) {
    const files = inputs ? filesAsDeployed(inputs) : filesFromSources(__dirname);
    const config = loadConfig();
    // Secrets are outputs of their own, one for each target: Pulumi's SDK tells only of a whole output that it is secret, and an
    // object that contains a secret would count as plain.
    const deployed = Object.assign(
        {},
        ...config.targets.map((kind) => {
            const target = makeTarget(kind, config, files);
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
                config.consulObjects && discovery.consul
                    ? new ConsulObjects(`${kind}-consul`, { discovery, service: config.service })
                    : undefined;
            return {
                [kind]: {
                    endpoints: balancers.endpoints,
                    gateways: pool.endpoints,
                    balancerStatus: balancers.statusPages,
                    ...(discovery.consul ? { consulUi: discovery.consul.ui } : {}),
                },
                ...(consul ? { [`${kind}OperatorToken`]: consul.operatorToken } : {}),
            };
        }),
    );
    // The replacement loop on a machine of a cloud must create exactly the same resources.
    const isRepeated = config.replacementEnabled && config.targets.join() === "openstack";
    return isRepeated ? { ...deployed, [deployedInputsOutput]: files.deployedInputs() } : deployed;
}

// A function, not a body: the engine may run the program several times in one process.
export = deploy;
