import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../config";
import { tagsOf } from "./naming";
import type { AwsNetwork } from "./network";
import { allowIn } from "./securityGroups";

/** How the network load balancer tells that a machine is well. */
export interface EdgeCheck {
    readonly protocol: "HTTP" | "HTTPS";
    readonly port: number;
    readonly path: string;
}

/** What the network load balancer sends to one kind of machines. */
export interface EdgeTarget {
    /** Short: a target group's name has at most 32 characters, of which Pulumi takes 8. */
    readonly name: string;
    /** The port, of the load balancer and of the machines alike. */
    readonly port: number;
    readonly check: EdgeCheck;
    /** How long connections to a machine that was taken out may go on, seconds. */
    readonly drainSeconds: number;
}

/** Longest time of a check, seconds, and how many in a row decide. */
const CHECK = { timeout: 5, threshold: 2 } as const;
/** The longest that AWS has: clients keep connections that they do not use. */
const IDLE_SECONDS = 6000;

/**
 * The network load balancer. Clients call it; besides, AWS knows by its checks which machines are well, and so AutoScaling
 * replaces ill gateways, and a deployment goes on to the next Consul server or balancer only once the last one is well.
 * For that it has listeners for the health of gateways and of Consul servers, to which its security group lets nobody.
 */
export class AwsEdge extends pulumi.ComponentResource {
    readonly loadBalancer: aws.lb.LoadBalancer;
    readonly group: aws.ec2.SecurityGroup;
    readonly dnsName: pulumi.Output<string>;

    constructor(
        name: string,
        private readonly network: AwsNetwork,
        private readonly settings: AwsConfig,
        provider: aws.Provider,
    ) {
        super("gateway:aws:Edge", name);
        const child = { parent: this, provider };
        this.group = new aws.ec2.SecurityGroup(
            `${name}-group`,
            {
                vpcId: network.vpcId,
                description: "The network load balancer: who may call the gateway",
                tags: tagsOf("edge"),
            },
            child,
        );
        this.loadBalancer = new aws.lb.LoadBalancer(
            `${name}-nlb`,
            {
                loadBalancerType: "network",
                internal: !settings.internetFacing,
                subnets: [...network.edgeSubnetIds],
                securityGroups: [this.group.id],
                // Or the loss of a zone's balancer would leave the clients of that zone without one.
                enableCrossZoneLoadBalancing: true,
                tags: tagsOf("edge"),
            },
            // An internet-facing one is refused as long as its VPC has no way out.
            { ...child, dependsOn: [...network.routes] },
        );
        this.dnsName = this.loadBalancer.dnsName;
        this.registerOutputs({ dnsName: this.dnsName });
    }

    /** Lets clients call a port. */
    openTo(name: string, port: number, child: pulumi.CustomResourceOptions): void {
        const { clientCidrs, clientPrefixLists } = this.settings;
        for (const cidr of clientCidrs) {
            allowIn(
                `${name}-from-${cidr}`,
                this.group,
                { protocol: "tcp", port, description: "clients", peer: { kind: "cidr", cidr } },
                child,
            );
        }
        for (const id of clientPrefixLists) {
            allowIn(
                `${name}-from-${id}`,
                this.group,
                { protocol: "tcp", port, description: "clients", peer: { kind: "prefix-list", id } },
                child,
            );
        }
    }

    /** Adds a target group and the listener without which AWS would not check it. */
    send(
        target: EdgeTarget,
        child: pulumi.CustomResourceOptions,
    ): { targetGroup: aws.lb.TargetGroup; listener: aws.lb.Listener } {
        const { name, port, check, drainSeconds } = target;
        const targetGroup = new aws.lb.TargetGroup(
            name,
            {
                vpcId: this.network.vpcId,
                protocol: "TCP",
                port,
                targetType: "instance",
                // HAProxy sees the load balancer's address: security groups stay groups, and a zone's answers find their way.
                preserveClientIp: "false",
                deregistrationDelay: drainSeconds,
                // Idle connections would hang until their client notices.
                connectionTermination: true,
                healthCheck: {
                    enabled: true,
                    protocol: check.protocol,
                    port: String(check.port),
                    path: check.path,
                    matcher: "200-399",
                    interval: this.settings.checkSeconds,
                    timeout: CHECK.timeout,
                    healthyThreshold: CHECK.threshold,
                    unhealthyThreshold: CHECK.threshold,
                },
                tags: tagsOf(name),
            },
            child,
        );
        const listener = new aws.lb.Listener(
            `${name}-listener`,
            {
                loadBalancerArn: this.loadBalancer.arn,
                protocol: "TCP",
                port,
                tcpIdleTimeoutSeconds: IDLE_SECONDS,
                defaultActions: [{ type: "forward", targetGroupArn: targetGroup.arn }],
            },
            child,
        );
        return { targetGroup, listener };
    }
}
