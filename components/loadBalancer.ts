import * as pulumi from "@pulumi/pulumi";
import { type AwsLoadBalancer, awsLoadBalancer } from "./aws/loadBalancer";
import type { GatewayService, LoadBalancerStack } from "./config";
import { localLoadBalancer } from "./local/loadBalancer";
import { type OpenstackLoadBalancer, openstackLoadBalancer } from "./openstack/loadBalancer";
import type { ServiceDiscovery } from "./serviceDiscovery";
import type { Target } from "./target";

/** Arguments of {@link LoadBalancer}. */
export interface LoadBalancerArgs<T extends Target = Target> {
    readonly target: T;
    readonly discovery: ServiceDiscovery;
    readonly stack: LoadBalancerStack;
    /** How many balancers; clients hold the addresses of all. */
    readonly balancers: number;
    /** The port that clients call. */
    readonly port: number;
    /** Largest number of gateways. */
    readonly slots: number;
    /** Longest time that a gateway which left may keep its connections, seconds. */
    readonly drainSeconds: number;
    /** What is behind the balancers. */
    readonly service: GatewayService;
}

/** What an implementation of {@link LoadBalancer} gives. */
export interface LoadBalancerOutputs {
    /** Where clients call, `host:port`; a client that holds all of them survives the loss of a balancer. */
    readonly endpoints: pulumi.Output<string[]>;
    /** URLs of the balancers' status pages. */
    readonly statusPages: pulumi.Output<string[]>;
    /** Escape hatch: the machines' own resources. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch on target `aws`: what is in front of the machines. */
    readonly aws?: AwsLoadBalancer;
    /** Escape hatch on target `openstack`: the machines with their ports, and what clients call. */
    readonly openstack?: OpenstackLoadBalancer;
}

/** The balancers: they send each call to a healthy gateway, and are no single point of failure themselves. */
export class LoadBalancer extends pulumi.ComponentResource implements LoadBalancerOutputs {
    readonly endpoints: pulumi.Output<string[]>;
    readonly statusPages: pulumi.Output<string[]>;
    readonly machines: readonly pulumi.CustomResource[];
    declare readonly aws?: AwsLoadBalancer;
    declare readonly openstack?: OpenstackLoadBalancer;
    readonly stack: LoadBalancerStack;
    /** The port that clients call. */
    readonly port: number;

    constructor(name: string, args: LoadBalancerArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:LoadBalancer", name, {}, opts);
        const made = implementation(name, args, this);
        this.endpoints = made.endpoints;
        this.statusPages = made.statusPages;
        this.machines = made.machines;
        if (made.aws) this.aws = made.aws;
        if (made.openstack) this.openstack = made.openstack;
        this.stack = args.stack;
        this.port = args.port;
        this.registerOutputs({ endpoints: this.endpoints, statusPages: this.statusPages });
    }
}

function implementation(name: string, args: LoadBalancerArgs, parent: pulumi.Resource): LoadBalancerOutputs {
    const { target } = args;
    switch (target.kind) {
        case "local":
            return localLoadBalancer(name, { ...args, target }, parent);
        case "aws":
            return awsLoadBalancer(name, { ...args, target }, parent);
        case "openstack":
            return openstackLoadBalancer(name, { ...args, target }, parent);
    }
}
