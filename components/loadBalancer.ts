import * as pulumi from "@pulumi/pulumi";
import type { LoadBalancerStack } from "../config";
import { assertSameTarget, withProvidersOf } from "./options";
import type { ServiceDiscovery } from "./serviceDiscovery";
import type * as targets from "./target";

/** Arguments of {@link LoadBalancer}. */
export interface LoadBalancerArgs<Discovery = unknown, Resources = unknown> extends targets.BalancersArgs<Discovery> {
    readonly target: targets.Target<Discovery, Resources>;
    readonly discovery: ServiceDiscovery<Discovery>;
}

/** The balancers. They send each call to a healthy gateway and are not a single point of failure. */
export class LoadBalancer<Discovery = unknown, Resources = unknown>
    extends pulumi.ComponentResource
    implements targets.BalancersOutputs<Resources>
{
    readonly target: targets.Target<Discovery, Resources>;
    readonly endpoints: pulumi.Output<string[]>;
    readonly statusPages: pulumi.Output<string[]>;
    readonly machines: readonly pulumi.CustomResource[];
    readonly resources: Resources;
    readonly stack: LoadBalancerStack;
    /** The port that clients call. */
    readonly port: number;

    constructor(name: string, args: LoadBalancerArgs<Discovery, Resources>, opts?: pulumi.ComponentResourceOptions) {
        const { target } = args;
        super("gateway:index:LoadBalancer", name, {}, withProvidersOf(target, opts));
        assertSameTarget(this, target, args);
        const made = target.loadBalancer(name, args, this);
        this.target = target;
        this.endpoints = made.endpoints;
        this.statusPages = made.statusPages;
        this.machines = made.machines;
        this.resources = made.resources;
        this.stack = args.stack;
        this.port = args.port;
        this.registerOutputs({ endpoints: this.endpoints, statusPages: this.statusPages });
    }
}
