import * as pulumi from "@pulumi/pulumi";
import type { LoadBalancer } from "./loadBalancer";
import { assertSameTarget, withProvidersOf } from "./options";
import type { ServiceDiscovery } from "./serviceDiscovery";
import type * as targets from "./target";

/** Arguments of {@link GatewayPool}. */
export interface GatewayPoolArgs<Discovery = unknown, Balancers = unknown, Resources = unknown>
    extends targets.PoolArgs<Discovery, Balancers> {
    readonly target: targets.Target<Discovery, Balancers, Resources>;
    readonly discovery: ServiceDiscovery<Discovery>;
    readonly balancers: LoadBalancer<Discovery, Balancers>;
}

/** The pool of gateways. It heals itself and rolls one machine at a time. */
export class GatewayPool<Discovery = unknown, Balancers = unknown, Resources = unknown>
    extends pulumi.ComponentResource
    implements targets.PoolOutputs<Resources>
{
    readonly endpoints: pulumi.Output<string[]>;
    readonly machines: readonly pulumi.CustomResource[];
    readonly resources: Resources;

    constructor(
        name: string,
        args: GatewayPoolArgs<Discovery, Balancers, Resources>,
        opts?: pulumi.ComponentResourceOptions,
    ) {
        const { target } = args;
        super("gateway:index:GatewayPool", name, {}, withProvidersOf(target, opts));
        assertSameTarget(this, target, args);
        const made = target.gatewayPool(name, args, this);
        this.endpoints = made.endpoints;
        this.machines = made.machines;
        this.resources = made.resources;
        this.registerOutputs({ endpoints: this.endpoints });
    }
}
