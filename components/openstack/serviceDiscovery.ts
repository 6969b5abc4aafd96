import type * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import { consulPaths } from "../../roles/consul";
import type { MachineGate } from "../../roles/delivery";
import { cloudLayout } from "../../roles/render/cloudInit";
import { mergeRoles } from "../../roles/role";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../roles";
import type { ServiceDiscoveryArgs, ServiceDiscoveryOutputs } from "../serviceDiscovery";
import { letLoopOut } from "./loopAccess";
import { type OpenstackMachine, openstackMachine } from "./machine";
import { openstackReplacer } from "./replacer";
import { roleSecurityGroup } from "./securityGroups";
import { serverGroup } from "./serverGroup";
import type { OpenstackTarget } from "./target";

/** Escape hatch of the Consul servers on target `openstack`. */
export interface OpenstackServiceDiscovery {
    readonly machines: readonly OpenstackMachine[];
    readonly securityGroup: openstack.networking.SecGroup;
    readonly serverGroup: openstack.compute.ServerGroup;
}

/** Every secret of the deployment: its credentials', and what the replacement loop needs besides. */
function allSecrets(
    { loopSecrets }: OpenstackTarget,
    credentials: pulumi.Output<Record<string, string>>,
): pulumi.Output<Record<string, string>> {
    return pulumi.all([credentials, pulumi.secret(loopSecrets)]).apply(([made, given]) => ({ ...made, ...given }));
}

/** Serf needs no machine of its own: members join the balancers, whose addresses do not change. */
export function openstackSerfDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<OpenstackTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { network, projectProvider } = args.target;
    const { secrets } = new Credentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: [], registry: "serf" },
        { parent, provider: projectProvider },
    );
    const join = [...Array(args.balancers).keys()].map((index) => network.address("balancer", index));
    return {
        registry: pulumi.all(join).apply((addresses) => registryBy.serf(serfCluster(addresses))),
        secrets: allSecrets(args.target, secrets),
        machines: [],
    };
}

/**
 * Consul servers as machines with fixed names and addresses, on different hosts. The next one is made, or replaced, only
 * once the last one says that it is ready; so a change never takes two at once.
 *
 * Agents find them by their addresses: Consul's auto-join for OpenStack cannot log in by an application credential.
 */
export function openstackConsulDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<OpenstackTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { target, datacenter, gatewayService, servers } = args;
    const { network, provider, settings } = target;
    const child = { parent, provider };
    const indices = [...Array(servers).keys()];
    const places = indices.map((index) => network.address("discovery", index));
    const addresses = pulumi.all(places);
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses },
        { parent, provider: target.projectProvider },
    );
    const secrets = allSecrets(target, credentials.secrets);
    const cluster = pulumi
        .all([addresses, credentials.caCertificate])
        .apply(([join, caCertificate]) => consulCluster({ datacenter, join, servers, caCertificate }));
    const balancers = pulumi.all([...Array(args.balancers).keys()].map((index) => network.address("balancer", index)));
    const role = (index: number, known: Parameters<typeof discoveryRole>[0], all: readonly string[]) => {
        const { join, caCertificate } = known.cluster;
        const layout = cloudLayout(machineName.discovery(index), join[index] ?? "");
        const server = discoveryRole(known, layout);
        const consul = join.map(consulApiAt);
        const loop = openstackReplacer({ target, consul, caCertificate, gatewayService, balancers: all }, layout);
        return { role: loop ? mergeRoles("consul-server", server, loop) : server, layout };
    };
    // What does not depend on values that are known only later: ports, and which secrets there are.
    const nobody = consulCluster({ datacenter, join: ["0.0.0.0"], servers, caCertificate: "" });
    const shape = role(0, { cluster: nobody, certificate: "", gatewayService }, []).role;
    const securityGroup = roleSecurityGroup(name, "discovery", shape.ports, network.members, [], child);
    letLoopOut(name, target, securityGroup, child);
    const group = serverGroup(name, "discovery", settings, child);
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
        openstack: { machines, securityGroup, serverGroup: group },
    };
}

/** There is a leader only once all servers are up, so the last one has to have one in any case. */
function serverGate(index: number, addresses: readonly string[]): MachineGate {
    if (index === addresses.length - 1) return { kind: "services" };
    const layout = cloudLayout(machineName.discovery(index), addresses[index] ?? "");
    const others = addresses.filter((_, other) => other !== index).map((address) => `https://${consulApiAt(address)}`);
    return { kind: "server", except: ["consul-acl"], others, caFile: consulPaths(layout).ca };
}
