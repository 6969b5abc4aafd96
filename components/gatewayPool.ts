import * as pulumi from "@pulumi/pulumi";
import type { GatewayService, ReplacementPolicyConfig } from "./config";
import type { LoadBalancer } from "./loadBalancer";
import { localGatewayPool } from "./local/gatewayPool";
import type { ServiceDiscovery } from "./serviceDiscovery";
import type { Target } from "./target";

/** Arguments of {@link GatewayPool}. */
export interface GatewayPoolArgs {
    readonly target: Target;
    /** How many gateways. */
    readonly size: number;
    readonly service: GatewayService;
    readonly discovery: ServiceDiscovery;
    /** The balancers in front: a changed gateway counts as deployed only once they send it calls. */
    readonly balancers: LoadBalancer;
    /** What heals the pool may do; undefined: nothing heals it. */
    readonly replacement: ReplacementPolicyConfig | undefined;
}

/** What an implementation of {@link GatewayPool} gives. */
export interface GatewayPoolOutputs {
    /** Where the gateways listen, `host:port`, behind the balancers. */
    readonly endpoints: pulumi.Output<string[]>;
    /** Escape hatch: the machines' own resources. */
    readonly machines: readonly pulumi.CustomResource[];
}

/** The pool of gateways, which heals itself and is rolled one machine at a time. */
export class GatewayPool extends pulumi.ComponentResource implements GatewayPoolOutputs {
    readonly endpoints: pulumi.Output<string[]>;
    readonly machines: readonly pulumi.CustomResource[];

    constructor(name: string, args: GatewayPoolArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:GatewayPool", name, {}, opts);
        const made = localGatewayPool(name, args, this);
        this.endpoints = made.endpoints;
        this.machines = made.machines;
        this.registerOutputs({ endpoints: this.endpoints });
    }
}
