import * as pulumi from "@pulumi/pulumi";
import { type AwsGatewayPool, awsGatewayPool } from "./aws/gatewayPool";
import type { GatewayService, ReplacementPolicyConfig } from "./config";
import type { LoadBalancer } from "./loadBalancer";
import { localGatewayPool } from "./local/gatewayPool";
import { type OpenstackGatewayPool, openstackGatewayPool } from "./openstack/gatewayPool";
import type { ServiceDiscovery } from "./serviceDiscovery";
import type { Target } from "./target";

/** Arguments of {@link GatewayPool}. */
export interface GatewayPoolArgs<T extends Target = Target> {
    readonly target: T;
    /** How many gateways; where the cloud scales the pool, the least. */
    readonly size: number;
    readonly service: GatewayService;
    readonly discovery: ServiceDiscovery;
    /** The balancers in front: a changed gateway counts as deployed only once they send it calls. */
    readonly balancers: LoadBalancer;
    /** What heals the pool may do; undefined: nothing heals it. On a cloud whose service does that, compiled to its settings. */
    readonly replacement: ReplacementPolicyConfig | undefined;
}

/** What an implementation of {@link GatewayPool} gives. */
export interface GatewayPoolOutputs {
    /** Where the gateways listen, `host:port`, behind the balancers; empty where that changes without a deployment. */
    readonly endpoints: pulumi.Output<string[]>;
    /** Escape hatch: the machines' own resources, or that of their group. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch on target `aws`: the group and what belongs to it. */
    readonly aws?: AwsGatewayPool;
    /** Escape hatch on target `openstack`: the machines with their ports, and what belongs to them. */
    readonly openstack?: OpenstackGatewayPool;
}

/** The pool of gateways, which heals itself and is rolled one machine at a time. */
export class GatewayPool extends pulumi.ComponentResource implements GatewayPoolOutputs {
    readonly endpoints: pulumi.Output<string[]>;
    readonly machines: readonly pulumi.CustomResource[];
    declare readonly aws?: AwsGatewayPool;
    declare readonly openstack?: OpenstackGatewayPool;

    constructor(name: string, args: GatewayPoolArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:GatewayPool", name, {}, opts);
        const made = implementation(name, args, this);
        this.endpoints = made.endpoints;
        this.machines = made.machines;
        if (made.aws) this.aws = made.aws;
        if (made.openstack) this.openstack = made.openstack;
        this.registerOutputs({ endpoints: this.endpoints });
    }
}

function implementation(name: string, args: GatewayPoolArgs, parent: pulumi.Resource): GatewayPoolOutputs {
    const { target } = args;
    switch (target.kind) {
        case "local":
            return localGatewayPool(name, { ...args, target }, parent);
        case "aws":
            return awsGatewayPool(name, { ...args, target }, parent);
        case "openstack":
            return openstackGatewayPool(name, { ...args, target }, parent);
    }
}
