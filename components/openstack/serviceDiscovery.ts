import type * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { MachineCondition } from "../../programs/boot/delivery";
import { cloudLayout } from "../../programs/boot/description";
import { consulPaths } from "../../roles/consul";
import { mergeRoles } from "../../roles/role";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../machineRoles";
import type { DiscoveryArgs, DiscoveryOutputs } from "../target";
import type { OpenstackContext } from "./context";
import { letLoopOut } from "./loopAccess";
import { type OpenstackMachine, openstackMachine } from "./machine";
import { openstackReplacer } from "./replacer";
import { roleSecurityGroup } from "./securityGroups";
import { serverGroup } from "./serverGroup";

/** Escape hatch of the Consul servers on target `openstack`. */
export interface OpenstackServiceDiscovery {
    readonly machines: readonly OpenstackMachine[];
    readonly securityGroup: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
}

/** Every secret of the deployment: its credentials and the secrets of the replacement loop. */
function allSecrets(
    { loopSecrets }: OpenstackContext,
    credentials: pulumi.Output<Record<string, string>>,
): pulumi.Output<Record<string, string>> {
    return pulumi.all([credentials, pulumi.secret(loopSecrets)]).apply(([made, given]) => ({ ...made, ...given }));
}

/** Serf needs no machine of its own: members join the balancers, whose addresses do not change. */
export function openstackSerfDiscovery(
    target: OpenstackContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<undefined> {
    const { network } = target;
    const { secrets } = new Credentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: [], registry: "serf" },
        { parent },
    );
    const join = [...Array(args.balancers).keys()].map((index) => network.address("balancer", index));
    return {
        registry: pulumi.all(join).apply((addresses) => registryBy.serf(serfCluster(addresses))),
        secrets: allSecrets(target, secrets),
        machines: [],
        resources: undefined,
    };
}

/**
 * Consul servers as machines with fixed names and addresses, on different hosts. The next one is created or replaced
 * only once the previous one reports that it is ready, so a change never takes two at once.
 *
 * Agents find them by their addresses: Consul's auto-join for OpenStack does not support application credentials.
 */
export function openstackConsulDiscovery(
    target: OpenstackContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<OpenstackServiceDiscovery> {
    const { datacenter, gatewayService, servers } = args;
    const { network } = target;
    const child = { parent };
    const indices = [...Array(servers).keys()];
    const places = indices.map((index) => network.address("discovery", index));
    const addresses = pulumi.all(places);
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses, gatewayService },
        child,
    );
    const secrets = allSecrets(target, credentials.secrets);
    const cluster = pulumi
        .all([addresses, credentials.caCertificate])
        .apply(([join, caCertificate]) => consulCluster({ datacenter, join, servers, caCertificate }));
    const balancers = pulumi.all([...Array(args.balancers).keys()].map((index) => network.address("balancer", index)));
    const role = (index: number, known: Parameters<typeof discoveryRole>[1], all: readonly string[]) => {
        const { join, caCertificate } = known.cluster;
        const layout = cloudLayout(machineName.discovery(index), join[index] ?? "");
        const server = discoveryRole(target.files, known, layout);
        const consul = join.map(consulApiAt);
        const loop = openstackReplacer({ target, consul, caCertificate, gatewayService, balancers: all }, layout);
        return { role: loop ? mergeRoles("consul-server", server, loop) : server, layout };
    };
    // What does not depend on values that are known only later: the ports and the names of the secrets.
    const nobody = consulCluster({ datacenter, join: ["0.0.0.0"], servers, caCertificate: "" });
    const shape = role(0, { cluster: nobody, certificate: "", gatewayService }, []).role;
    const securityGroup = roleSecurityGroup(name, target, "discovery", shape.ports, [], child);
    letLoopOut(name, target, securityGroup, child);
    const group = serverGroup(name, "discovery", target, child);
    const machines: OpenstackMachine[] = [];
    for (const [index, address] of places.entries()) {
        const content = pulumi
            .all([cluster, credentials.serverCertificate, balancers])
            .apply(([known, certificate, all]) => role(index, { cluster: known, certificate, gatewayService }, all));
        machines.push(
            openstackMachine(
                `${name}-${index}`,
                {
                    target,
                    machine: machineName.discovery(index),
                    address,
                    content,
                    shape,
                    flavor: target.flavor.fixed,
                    group: securityGroup,
                    serverGroup: group,
                    secrets,
                    gates: addresses.apply((all) => [serverGate(index, all)]),
                    after: machines.slice(-1).map(({ ready }) => ready),
                },
                parent,
            ),
        );
    }
    return {
        registry: cluster.apply(registryBy.consul),
        consul: {
            cluster,
            api: addresses.apply((known) => known.map(consulApiAt)),
            ui: addresses.apply(([first = ""]) => `https://${consulApiAt(first)}/ui`),
        },
        secrets,
        machines: machines.flatMap(({ server, ready }) => [server, ready]),
        resources: { machines, securityGroup, serverGroup: group },
    };
}

/** There is a leader only once all servers are up, so the last one must see one in any case. */
function serverGate(index: number, addresses: readonly string[]): MachineCondition {
    if (index === addresses.length - 1) return { kind: "services" };
    const layout = cloudLayout(machineName.discovery(index), addresses[index] ?? "");
    const others = addresses.filter((_, other) => other !== index).map((address) => `https://${consulApiAt(address)}`);
    return { kind: "server", except: ["consul-acl"], others, caFile: consulPaths(layout).ca };
}
