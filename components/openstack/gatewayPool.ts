import type * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { MachineGate } from "../../roles/delivery";
import { cloudLayout } from "../../roles/render/cloudInit";
import type { GatewayPoolArgs, GatewayPoolOutputs } from "../gatewayPool";
import { machineName } from "../machineNames";
import { gatewayRole, type Registry, unknownRegistry } from "../roles";
import { type OpenstackMachine, openstackMachine } from "./machine";
import { roleSecurityGroup } from "./securityGroups";
import { serverGroup } from "./serverGroup";
import type { OpenstackTarget } from "./target";

/** Escape hatch of the pool on target `openstack`. */
export interface OpenstackGatewayPool {
    readonly machines: readonly OpenstackMachine[];
    readonly securityGroup: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
}

/**
 * Gateways as machines on different hosts, each in a slot with a name and an address of its own. They are made one after
 * the other, because Nova keeps servers of a group apart only when it knows where the others are; and replaced one after the
 * other, each once the balancers send calls to the last one. What replaces dead ones is the replacement loop.
 */
export function openstackGatewayPool(
    name: string,
    args: GatewayPoolArgs<OpenstackTarget>,
    parent: pulumi.Resource,
): GatewayPoolOutputs {
    const { target, service, discovery, balancers } = args;
    const { network, provider, settings } = target;
    const child = { parent, provider };
    const role = (index: number, registry: Registry, address: string) => {
        const layout = cloudLayout(machineName.gateway(index), address);
        return { role: gatewayRole({ registry, service, balancers }, layout), layout };
    };
    const shape = role(0, unknownRegistry(discovery), "0.0.0.0").role;
    const securityGroup = roleSecurityGroup(name, "gateway", shape.ports, network.members, [], child);
    const group = serverGroup(name, "gateway", settings, child);
    const machines: OpenstackMachine[] = [];
    const addresses: pulumi.Output<string>[] = [];
    for (const index of Array(args.size).keys()) {
        const address = network.address("gateway", index);
        addresses.push(address);
        machines.push(
            openstackMachine(
                `${name}-${index}`,
                {
                    target,
                    machine: machineName.gateway(index),
                    address,
                    content: pulumi
                        .all([discovery.registry, address])
                        .apply(([registry, known]) => role(index, registry, known)),
                    shape,
                    flavor: target.flavor.gateway,
                    group: securityGroup,
                    serverGroup: group,
                    secrets: discovery.secrets,
                    gates: pulumi
                        .all([balancers.statusPages, address])
                        .apply(([pages, known]): MachineGate[] => [
                            { kind: "services" },
                            { kind: "rotation", balancers: pages, address: known },
                        ]),
                    isSlot: true,
                    after: index === 0 ? balancers.machines : machines.slice(-1).map(({ ready }) => ready),
                },
                parent,
            ),
        );
    }
    return {
        endpoints: pulumi.all(addresses).apply((all) => all.map((address) => `${address}:${service.port}`)),
        machines: machines.flatMap(({ server, ready }) => [server, ready]),
        openstack: { machines, securityGroup, serverGroup: group },
    };
}
