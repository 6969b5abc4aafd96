import type * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { MachineCondition } from "../../programs/boot/delivery";
import { cloudLayout } from "../../programs/boot/description";
import { keepalived } from "../../roles/keepalived";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { mergeRoles } from "../../roles/role";
import { machineName } from "../machineNames";
import { balancerRole, type Registry, unknownRegistry } from "../machineRoles";
import type { BalancersArgs, BalancersOutputs } from "../target";
import type { OpenstackContext } from "./context";
import { type Frontend, keepalivedFrontend, octaviaFrontend } from "./frontend";
import { type OpenstackMachine, openstackMachine } from "./machine";
import { allow, type Clients, roleSecurityGroup } from "./securityGroups";
import { serverGroup } from "./serverGroup";

/** Escape hatch of the balancers on target `openstack`. */
export interface OpenstackLoadBalancer {
    readonly machines: readonly OpenstackMachine[];
    readonly securityGroup: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
    /** What clients call. */
    readonly frontend: Frontend;
}

/** Every address of the machine, for the clients' one comes and goes. */
const EVERY_ADDRESS = "0.0.0.0";

/**
 * Balancers as machines with fixed names and addresses, on different hosts, behind one address for clients. One is replaced
 * only once the last one sends calls to gateways again.
 */
export function openstackLoadBalancer(
    target: OpenstackContext,
    name: string,
    args: BalancersArgs,
    parent: pulumi.Resource,
): BalancersOutputs<OpenstackLoadBalancer> {
    const { discovery, stack, service, port, slots, drainSeconds } = args;
    const { network, settings } = target;
    const child = { parent };
    const places = [...Array(args.balancers).keys()].map((index) => network.address("balancer", index));
    const addresses = pulumi.all(places);
    const vip = network.address("vip");
    const { frontend: wanted } = settings;
    const role = (index: number, registry: Registry, all: readonly string[], shared: string, cidr: string) => {
        const layout = cloudLayout(machineName.balancer(index), all[index] ?? "");
        const balancer = balancerRole(
            target.files,
            { registry, stack, service, port, listen: EVERY_ADDRESS, networks: [cidr], slots, drainSeconds },
            layout,
        );
        if (wanted.kind === "octavia") return { role: balancer, layout };
        const sharing = keepalived(
            {
                address: shared,
                peers: all.filter((_, other) => other !== index),
                index,
                virtualRouterId: wanted.virtualRouterId,
                statusPath: stack === "fabio" ? "/health" : "/",
            },
            layout,
        );
        return { role: mergeRoles("balancer", balancer, sharing), layout };
    };
    const shape = role(0, unknownRegistry(discovery), [EVERY_ADDRESS], EVERY_ADDRESS, "0.0.0.0/0").role;
    const securityGroup = roleSecurityGroup(name, target, "balancer", shape.ports, clientsOf(target), child);
    if (wanted.kind === "keepalived") {
        const peer = { kind: "group", group: securityGroup } as const;
        for (const direction of ["ingress", "egress"] as const) {
            const vrrp = { protocol: "vrrp", description: "who has the clients' address", peer } as const;
            allow(`${name}-vrrp`, direction, securityGroup, vrrp, child);
        }
    }
    const group = serverGroup(name, "balancer", target, child);
    const pages = addresses.apply((all) => all.map((address) => balancerStatusUrl({ address })));
    const machines: OpenstackMachine[] = [];
    for (const [index, address] of places.entries()) {
        machines.push(
            openstackMachine(
                `${name}-${index}`,
                {
                    target,
                    machine: machineName.balancer(index),
                    address,
                    content: pulumi
                        .all([discovery.registry, addresses, vip, network.cidr])
                        .apply(([registry, all, shared, cidr]) => role(index, registry, all, shared, cidr)),
                    shape,
                    flavor: target.flavor.fixed,
                    group: securityGroup,
                    serverGroup: group,
                    secrets: discovery.secrets,
                    gates: pages.apply((all): MachineCondition[] => [
                        { kind: "services" },
                        {
                            kind: "serving",
                            balancer: all[index] ?? "",
                            others: all.filter((_, other) => other !== index),
                        },
                    ]),
                    ...(wanted.kind === "keepalived" ? { sharedAddress: vip } : {}),
                    after: index === 0 ? discovery.machines : machines.slice(-1).map(({ ready }) => ready),
                },
                parent,
            ),
        );
    }
    const frontend =
        wanted.kind === "keepalived"
            ? keepalivedFrontend(name, { target, address: vip, group: securityGroup }, child)
            : octaviaFrontend(
                  name,
                  {
                      ...{ target, octavia: wanted, port, balancers: places, group: securityGroup },
                      // Not keepalived's: where that is in use, it is given up only once this one is there.
                      address: network.address("octavia"),
                  },
                  child,
              );
    return {
        endpoints: frontend.address.apply((address) => [`${address}:${port}`]),
        statusPages: pages,
        machines: machines.flatMap(({ server, ready }) => [server, ready]),
        resources: { machines, securityGroup, serverGroup: group, frontend },
    };
}

/** Who calls the balancers: the clients themselves, or what Octavia has in the network, which lets in nobody else. */
function clientsOf({ settings, network }: OpenstackContext): Clients[] {
    return settings.frontend.kind === "octavia"
        ? [{ from: "octavia", cidr: network.cidr }]
        : settings.clientCidrs.map((cidr) => ({ from: `from-${cidr}`, cidr }));
}
