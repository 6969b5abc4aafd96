import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../../config";
import type { AwsNames } from "./naming";
import type { AwsNetwork } from "./network";
import { allowIn } from "./securityGroups";

/** How the network load balancer checks that a machine is healthy. */
export interface HealthCheck {
    readonly protocol: "HTTP" | "HTTPS";
    readonly port: number;
    readonly path: string;
}

/** A listener of the network load balancer and the kind of machines behind it. */
export interface ForwardedPort {
    /** Short: a target group's name has at most 32 characters, of which Pulumi takes 8. */
    readonly name: string;
    /** The port of both the load balancer and the machines. */
    readonly port: number;
    readonly check: HealthCheck;
    /** How long connections to a deregistered machine may go on, seconds. */
    readonly drainSeconds: number;
}

/** Arguments of {@link AwsNetworkLoadBalancer}. */
export interface AwsNetworkLoadBalancerArgs {
    readonly network: AwsNetwork;
    readonly settings: AwsConfig;
    readonly names: AwsNames;
}

/** Longest time of a check, seconds, and how many in a row decide. */
const CHECK = { timeout: 5, threshold: 2 } as const;
/** AWS's maximum: clients keep connections that they do not use. */
const IDLE_SECONDS = 6000;

/**
 * The network load balancer. Clients call it. AWS also learns from its checks which machines are healthy: by them
 * AutoScaling replaces unhealthy gateways, and a deployment goes on to the next Consul server or balancer only once the
 * previous one is healthy. For this it has listeners for the health of gateways and Consul servers, to which its
 * security group admits nobody.
 */
export class AwsNetworkLoadBalancer extends pulumi.ComponentResource {
    readonly loadBalancer: aws.lb.LoadBalancer;
    readonly group: aws.ec2.SecurityGroup;
    readonly dnsName: pulumi.Output<string>;

    constructor(
        name: string,
        private readonly args: AwsNetworkLoadBalancerArgs,
        opts?: pulumi.ComponentResourceOptions,
    ) {
        // The type keeps the name that version 0.1 gave it, because URNs contain it.
        super("gateway:aws:Edge", name, {}, opts);
        const child = { parent: this };
        const { network, settings, names } = args;
        const tags = names.tagsOf("edge");
        this.group = new aws.ec2.SecurityGroup(
            `${name}-group`,
            {
                vpcId: network.vpcId,
                description: "The network load balancer: who may call the gateway",
                tags,
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
                // Otherwise the loss of a zone's balancer would leave that zone's clients without one.
                enableCrossZoneLoadBalancing: true,
                tags,
            },
            // AWS refuses an internet-facing one until its VPC has a way out.
            { ...child, dependsOn: [...network.routes] },
        );
        this.dnsName = this.loadBalancer.dnsName;
        this.registerOutputs({ dnsName: this.dnsName });
    }

    /** Lets clients call a port. */
    openTo(name: string, port: number, child: pulumi.CustomResourceOptions): void {
        const { clientCidrs, clientPrefixLists } = this.args.settings;
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

    /** Adds a target group and a listener, without which AWS does not check the group. */
    send(
        target: ForwardedPort,
        child: pulumi.CustomResourceOptions,
    ): { targetGroup: aws.lb.TargetGroup; listener: aws.lb.Listener } {
        const { name, port, check, drainSeconds } = target;
        const targetGroup = new aws.lb.TargetGroup(
            name,
            {
                vpcId: this.args.network.vpcId,
                protocol: "TCP",
                port,
                targetType: "instance",
                // HAProxy sees the load balancer's address, so rules between security groups keep working and answers
                // find their way back to the zone.
                preserveClientIp: "false",
                deregistrationDelay: drainSeconds,
                // Otherwise idle connections hang until their client notices.
                connectionTermination: true,
                healthCheck: {
                    enabled: true,
                    protocol: check.protocol,
                    port: String(check.port),
                    path: check.path,
                    matcher: "200-399",
                    interval: this.args.settings.checkSeconds,
                    timeout: CHECK.timeout,
                    healthyThreshold: CHECK.threshold,
                    unhealthyThreshold: CHECK.threshold,
                },
                tags: this.args.names.tagsOf(name),
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
