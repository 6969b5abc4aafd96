import * as pulumi from "@pulumi/pulumi";
import type { LoadBalancerStack } from "../config";
import type { Registry, RegistryKind } from "./machineRoles";
import { withProvidersOf } from "./options";
import type * as targets from "./target";

/** The registry of a load balancing stack. */
export function registryOf(stack: LoadBalancerStack): RegistryKind {
    return stack === "serf-haproxy" ? "serf" : "consul";
}

/** Arguments of {@link ServiceDiscovery}. */
export interface ServiceDiscoveryArgs<Resources = unknown> extends targets.DiscoveryArgs {
    readonly target: targets.Target<Resources>;
}

/**
 * Service discovery: Consul servers, where gateways register and where balancers and the replacement loop find them; or
 * Serf, without servers.
 */
export class ServiceDiscovery<Resources = unknown>
    extends pulumi.ComponentResource
    implements targets.DiscoveryOutputs<Resources>
{
    readonly target: targets.Target<Resources>;
    readonly registry: pulumi.Output<Registry>;
    readonly consul: targets.ConsulServers | undefined;
    readonly secrets: pulumi.Output<Record<string, string>>;
    readonly machines: readonly pulumi.CustomResource[];
    readonly resources: Resources;

    constructor(name: string, args: ServiceDiscoveryArgs<Resources>, opts?: pulumi.ComponentResourceOptions) {
        const { target } = args;
        super("gateway:index:ServiceDiscovery", name, {}, withProvidersOf(target, opts));
        const made = target.serviceDiscovery(name, args, this);
        this.target = target;
        this.registry = made.registry;
        this.consul = made.consul;
        this.secrets = made.secrets;
        this.machines = made.machines;
        this.resources = made.resources;
        this.registerOutputs(made.consul ? { api: made.consul.api, ui: made.consul.ui } : {});
    }
}
