import type * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { MachineCondition } from "../../programs/boot/delivery";
import { cloudLayout } from "../../programs/boot/description";
import { machineName } from "../machineNames";
import { gatewayRole, type Registry, unknownRegistry } from "../machineRoles";
import type { PoolArgs, PoolOutputs } from "../target";
import type { OpenstackContext } from "./context";
import { type OpenstackMachine, openstackMachine } from "./machine";
import { roleSecurityGroup } from "./securityGroups";
import { serverGroup } from "./serverGroup";

/** Escape hatch of the pool on target `openstack`. */
export interface OpenstackGatewayPool {
    readonly machines: readonly OpenstackMachine[];
    readonly securityGroup: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
}

/**
 * Gateways as machines on different hosts, each in a slot with a fixed name and address. They are created one after the
 * other, because Nova keeps the servers of a group apart only if it knows where the others are. They are replaced one
 * after the other, each once the balancers send calls to the previous one. The replacement loop replaces dead ones.
 */
export function openstackGatewayPool(
    target: OpenstackContext,
    name: string,
    args: PoolArgs,
    parent: pulumi.Resource,
): PoolOutputs<OpenstackGatewayPool> {
    const { service, discovery, balancers } = args;
    const { network } = target;
    const child = { parent };
    const role = (index: number, registry: Registry, address: string) => {
        const layout = cloudLayout(machineName.gateway(index), address);
        return { role: gatewayRole(target.files, { registry, service, balancers }, layout), layout };
    };
    const shape = role(0, unknownRegistry(discovery), "0.0.0.0").role;
    const securityGroup = roleSecurityGroup(name, target, "gateway", shape.ports, [], child);
    const group = serverGroup(name, "gateway", target, child);
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
                        .apply(([pages, known]): MachineCondition[] => [
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
        resources: { machines, securityGroup, serverGroup: group },
    };
}
