import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import type { Port } from "../../roles/role";
import { tagsOf } from "./naming";

/** A rule between two security groups, or between one and addresses. */
interface Rule {
    readonly protocol: "tcp" | "udp";
    readonly port: number;
    readonly description: string;
    readonly peer:
        | { readonly kind: "group"; readonly id: pulumi.Input<string> }
        | { readonly kind: "cidr"; readonly cidr: string }
        | { readonly kind: "prefix-list"; readonly id: string };
}

/** Lets somebody in to a security group. */
export function allowIn(
    name: string,
    group: aws.ec2.SecurityGroup,
    rule: Rule,
    options: pulumi.CustomResourceOptions,
): aws.vpc.SecurityGroupIngressRule {
    return new aws.vpc.SecurityGroupIngressRule(name, { securityGroupId: group.id, ...ruleArgs(rule) }, options);
}

/** Lets a security group's members out to somebody. */
export function allowOut(
    name: string,
    group: aws.ec2.SecurityGroup,
    rule: Rule,
    options: pulumi.CustomResourceOptions,
): aws.vpc.SecurityGroupEgressRule {
    return new aws.vpc.SecurityGroupEgressRule(name, { securityGroupId: group.id, ...ruleArgs(rule) }, options);
}

function ruleArgs({ protocol, port, description, peer }: Rule) {
    return {
        ipProtocol: protocol,
        fromPort: port,
        toPort: port,
        description,
        ...(peer.kind === "group" ? { referencedSecurityGroupId: peer.id } : {}),
        ...(peer.kind === "cidr" ? { cidrIpv4: peer.cidr } : {}),
        ...(peer.kind === "prefix-list" ? { prefixListId: peer.id } : {}),
    };
}

/** Who stands where around the machines of one kind. */
export interface Surroundings {
    readonly vpcId: pulumi.Input<string>;
    /** The group that every machine of the deployment is in besides its own. */
    readonly members: aws.ec2.SecurityGroup;
    /** The network load balancer's group. */
    readonly edge: aws.ec2.SecurityGroup;
}

/**
 * The security group of the machines of one kind, made from the ports of their role: what the deployment uses is open to
 * its machines, what clients use and what the network load balancer checks is open to the balancer, the rest to nobody. For
 * each port that is open on one side, the other side is let out.
 *
 * @param checked ports that the network load balancer asks for the machines' health.
 */
export function roleSecurityGroup(
    name: string,
    what: string,
    ports: readonly Port[],
    checked: readonly number[],
    { vpcId, members, edge }: Surroundings,
    options: pulumi.CustomResourceOptions,
): aws.ec2.SecurityGroup {
    const group = new aws.ec2.SecurityGroup(
        `${name}-group`,
        { vpcId, description: `Machines of the kind ${what}: who may call them`, tags: tagsOf(what) },
        options,
    );
    for (const port of ports) {
        const sources = [
            ...(port.reach === "deployment" ? [{ from: "members", group: members }] : []),
            ...(port.reach === "clients" || checked.includes(port.port) ? [{ from: "edge", group: edge }] : []),
        ];
        for (const source of sources) {
            for (const protocol of port.protocol === "both" ? (["tcp", "udp"] as const) : [port.protocol]) {
                const suffix = `${port.name}-${protocol}-from-${source.from}`;
                const rule = { protocol, port: port.port, description: port.name };
                const to = (other: aws.ec2.SecurityGroup) => ({ kind: "group", id: other.id }) as const;
                allowIn(`${name}-${suffix}`, group, { ...rule, peer: to(source.group) }, options);
                allowOut(`${name}-${suffix}`, source.group, { ...rule, peer: to(group) }, options);
            }
        }
    }
    return group;
}
