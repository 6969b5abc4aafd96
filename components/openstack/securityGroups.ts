import * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { Port } from "../../programs/machine";
import type { OpenstackNames } from "./naming";

/** What a rule allows: a port, or a protocol without ports. */
export interface Traffic {
    readonly protocol: "tcp" | "udp" | "vrrp";
    readonly port?: number;
    readonly description: string;
    readonly peer:
        | { readonly kind: "group"; readonly group: openstack.networking.SecGroup }
        | { readonly kind: "cidr"; readonly cidr: pulumi.Input<string> };
}

/** The owner of a group. All machines of the deployment are also in the group `members`. */
export interface Surroundings {
    readonly names: OpenstackNames;
    readonly network: { readonly members: openstack.networking.SecGroup };
}

/** A network whose machines are clients; `from` is its name among a group's rules. */
export interface Clients {
    readonly from: string;
    readonly cidr: pulumi.Input<string>;
}

/** A security group that lets nobody in or out: Neutron's default rules, which let everything out, are removed. */
export function emptyGroup(
    name: string,
    { nameOf, tags }: OpenstackNames,
    what: string,
    description: string,
    options: pulumi.CustomResourceOptions,
): openstack.networking.SecGroup {
    return new openstack.networking.SecGroup(
        name,
        { name: nameOf(what), description, deleteDefaultRules: true, tags: tags() },
        options,
    );
}

/** Allows traffic into or out of a group. */
export function allow(
    name: string,
    direction: "ingress" | "egress",
    group: openstack.networking.SecGroup,
    { protocol, port, description, peer }: Traffic,
    options: pulumi.CustomResourceOptions,
): openstack.networking.SecGroupRule {
    return new openstack.networking.SecGroupRule(
        `${name}-${direction === "ingress" ? "in" : "out"}`,
        {
            securityGroupId: group.id,
            direction,
            ethertype: "IPv4",
            protocol,
            ...(port === undefined ? {} : { portRangeMin: port, portRangeMax: port }),
            description,
            ...(peer.kind === "group" ? { remoteGroupId: peer.group.id } : { remoteIpPrefix: peer.cidr }),
        },
        options,
    );
}

/**
 * The security group of the machines of one kind, created from the ports of their role. Ports for the deployment are
 * open to its machines, ports for clients to those whom the caller names; all others are closed. For each port that is
 * open to machines, machines may send.
 *
 * @param clients who uses the ports for clients.
 */
export function roleSecurityGroup(
    name: string,
    { names, network: { members } }: Surroundings,
    what: string,
    ports: readonly Port[],
    clients: readonly Clients[],
    options: pulumi.CustomResourceOptions,
): openstack.networking.SecGroup {
    const group = emptyGroup(`${name}-group`, names, what, `Machines of the kind ${what}: who may call them`, options);
    for (const { name: port, port: number, protocol, reach } of ports) {
        if (reach === "machine") continue;
        for (const each of protocol === "both" ? (["tcp", "udp"] as const) : [protocol]) {
            const traffic = { protocol: each, port: number, description: port };
            const rule = `${name}-${port}-${each}`;
            if (reach === "deployment") {
                const peer = (other: openstack.networking.SecGroup) => ({ kind: "group", group: other }) as const;
                allow(`${rule}-members`, "ingress", group, { ...traffic, peer: peer(members) }, options);
                allow(`${rule}-members`, "egress", members, { ...traffic, peer: peer(group) }, options);
            } else {
                for (const { from, cidr } of clients) {
                    allow(`${rule}-${from}`, "ingress", group, { ...traffic, peer: { kind: "cidr", cidr } }, options);
                }
            }
        }
    }
    return group;
}
