import * as pulumi from "@pulumi/pulumi";
import { localPolicy, resolvePolicy } from "../../replacement/policy";
import { processLayout, renderProcess } from "../../roles/render/process";
import type { Gate } from "../../supervisor/gates";
import type { GatewayPoolArgs, GatewayPoolOutputs } from "../gatewayPool";
import { machineName } from "../machineNames";
import { gatewayRole } from "../roles";
import type { LocalTarget } from "../target";
import { LocalInstance } from "./instance";
import { localReplacer } from "./replacer";

/** Gateways as machines of this computer, each in a slot of its own, and the loop that replaces dead ones. */
export function localGatewayPool(
    name: string,
    args: GatewayPoolArgs<LocalTarget>,
    parent: pulumi.Resource,
): GatewayPoolOutputs {
    const { service, discovery, balancers, target } = args;
    const { provider } = target;

    const gateways: LocalInstance[] = [];
    const endpoints: string[] = [];
    for (const index of Array(args.size).keys()) {
        const layout = processLayout(machineName.gateway(index), target.addresses.gateway(index));
        const endpoint = `${layout.address}:${service.port}`;
        const machine = discovery.registry.apply((registry) =>
            renderProcess(gatewayRole({ registry, service, balancers }, layout), layout),
        );
        endpoints.push(endpoint);
        gateways.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    machine,
                    secrets: discovery.secrets,
                    onChange: "replace",
                    // Not deployed before calls arrive: or a roll-out would take the next one too early.
                    gates: {
                        create: balancers.statusPages.apply((pages): Gate[] => [
                            { kind: "services" },
                            { kind: "rotation", balancers: pages, address: layout.address },
                        ]),
                        update: [],
                    },
                },
                // One after the other. The discovery servers have to have a leader, and the balancers to run.
                { parent, provider, dependsOn: index === 0 ? [discovery, balancers] : gateways.slice(-1) },
            ),
        );
    }
    if (args.replacement) {
        const policy = resolvePolicy(localPolicy, args.replacement);
        localReplacer(`${name}-replacer`, { target, discovery, balancers, service, policy }, parent, gateways);
    }
    return { endpoints: pulumi.output(endpoints), machines: gateways };
}
