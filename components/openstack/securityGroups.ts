import * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { Port } from "../../roles/role";
import { nameOf, tags } from "./naming";

/** What a rule is about: some port, or a protocol that has none. */
export interface Traffic {
    readonly protocol: "tcp" | "udp" | "vrrp";
    readonly port?: number;
    readonly description: string;
    readonly peer:
        | { readonly kind: "group"; readonly group: openstack.networking.SecGroup }
        | { readonly kind: "cidr"; readonly cidr: pulumi.Input<string> };
}

/** A network whose machines are clients; `from` is its name among a group's rules. */
export interface Clients {
    readonly from: string;
    readonly cidr: pulumi.Input<string>;
}

/** A security group that lets nobody in and out: Neutron's own rules, which let everything out, are taken away. */
export function emptyGroup(
    name: string,
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

/** Lets somebody in to a group's members, or them out to somebody. */
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
 * The security group of the machines of one kind, made from the ports of their role: what the deployment uses is open to
 * its machines, what clients use to those whom the caller names, the rest to nobody. For each port that is open to
 * machines, machines are let out.
 *
 * @param members the group that every machine of the deployment is in besides its own.
 * @param clients who uses the ports for clients.
 */
export function roleSecurityGroup(
    name: string,
    what: string,
    ports: readonly Port[],
    members: openstack.networking.SecGroup,
    clients: readonly Clients[],
    options: pulumi.CustomResourceOptions,
): openstack.networking.SecGroup {
    const group = emptyGroup(`${name}-group`, what, `Machines of the kind ${what}: who may call them`, options);
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
