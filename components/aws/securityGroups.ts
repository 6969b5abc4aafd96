import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import type { Port } from "../../programs/machine";

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

/** Allows traffic into a security group. */
export function allowIn(
    name: string,
    group: aws.ec2.SecurityGroup,
    rule: Rule,
    options: pulumi.CustomResourceOptions,
): aws.vpc.SecurityGroupIngressRule {
    return new aws.vpc.SecurityGroupIngressRule(name, { securityGroupId: group.id, ...ruleArgs(rule) }, options);
}

/** Allows traffic out of a security group. */
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

/** The security groups around the machines of one kind. */
export interface Surroundings {
    readonly vpcId: pulumi.Input<string>;
    /** The group of all machines of the deployment, in addition to their own. */
    readonly members: aws.ec2.SecurityGroup;
    /** The network load balancer's group. */
    readonly nlb: aws.ec2.SecurityGroup;
    readonly tags: Readonly<Record<string, string>>;
}

/**
 * The security group of the machines of one kind, created from the ports of their role. Ports for the deployment are
 * open to its machines. Ports for clients, and those that the network load balancer checks, are open to the load
 * balancer. All others are closed. For each port that is open on one side, the other side may send.
 *
 * @param checked ports that the network load balancer checks.
 */
export function roleSecurityGroup(
    name: string,
    what: string,
    ports: readonly Port[],
    checked: readonly number[],
    { vpcId, members, nlb, tags }: Surroundings,
    options: pulumi.CustomResourceOptions,
): aws.ec2.SecurityGroup {
    const group = new aws.ec2.SecurityGroup(
        `${name}-group`,
        { vpcId, description: `Machines of the kind ${what}: who may call them`, tags: { ...tags } },
        options,
    );
    for (const port of ports) {
        const sources = [
            ...(port.reach === "deployment" ? [{ from: "members", group: members }] : []),
            ...(port.reach === "clients" || checked.includes(port.port) ? [{ from: "edge", group: nlb }] : []),
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
