/**
 * The interface that each target implements, and the arguments and outputs that targets and components share. Nothing
 * here knows a cloud.
 */
import type * as pulumi from "@pulumi/pulumi";
import type { GatewayService, LoadBalancerStack, ReplacementPolicyConfig } from "../config";
import type { ConsulCluster } from "../roles/consul";
import type { Registry, RegistryKind } from "./machineRoles";

/**
 * Where a deployment goes: a cloud or this computer. A target holds one of each component; a second deployment in the
 * same stack needs another target with another name.
 *
 * The type arguments are the escape hatches: what the target's discovery, balancers and pool offer beyond what all
 * targets have. Each function creates its resources as children of `parent` and so with its `providers`.
 */
export interface Target<Discovery = unknown, Balancers = unknown, Pool = unknown> {
    /** Providers of what the components make here. A component's own `providers` come before them. */
    readonly providers: readonly pulumi.ProviderResource[];
    /** Makes what {@link DiscoveryArgs} says. */
    serviceDiscovery(name: string, args: DiscoveryArgs, parent: pulumi.ComponentResource): DiscoveryOutputs<Discovery>;
    /** Makes what {@link BalancersArgs} says. */
    loadBalancer(
        name: string,
        args: BalancersArgs<Discovery>,
        parent: pulumi.ComponentResource,
    ): BalancersOutputs<Balancers>;
    /** Makes what {@link PoolArgs} says. */
    gatewayPool(
        name: string,
        args: PoolArgs<Discovery, Balancers>,
        parent: pulumi.ComponentResource,
    ): PoolOutputs<Pool>;
}

/** Arguments of a discovery on every target. */
export interface DiscoveryArgs {
    /** The registry of the gateways. Default `consul`. With `serf` there are no servers. */
    readonly registry?: RegistryKind;
    /** Number of balancers. With Serf they are the members that the others join. */
    readonly balancers: number;
    /** How many Consul servers: 1, 3 or 5. */
    readonly servers: number;
    readonly datacenter: string;
    /** The name under which gateways are registered. */
    readonly gatewayService: string;
}

/** Consul's servers, for those who ask them. */
export interface ConsulServers {
    /** What an agent needs to know to join. */
    readonly cluster: pulumi.Output<ConsulCluster>;
    /** HTTPS API addresses of the servers, `host:port`. Certificates are signed by `cluster.caCertificate`. */
    readonly api: pulumi.Output<string[]>;
    /** URL of Consul's user interface. */
    readonly ui: pulumi.Output<string>;
}

/** Outputs of a target's discovery. */
export interface DiscoveryOutputs<Resources = unknown> {
    /** What a machine needs to know to find the others. */
    readonly registry: pulumi.Output<Registry>;
    /** Where the registry is Consul: its servers. */
    readonly consul?: ConsulServers | undefined;
    /** The secrets that the roles refer to, by name. Secret. */
    readonly secrets: pulumi.Output<Record<string, string>>;
    /** Escape hatch: the machines' own resources, and what waits for them; none with Serf. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch: what else the target has made. */
    readonly resources: Resources;
}

/** Arguments of the balancers on every target. */
export interface BalancersArgs<Discovery = unknown> {
    readonly discovery: DiscoveryOutputs<Discovery> & pulumi.ComponentResource;
    readonly stack: LoadBalancerStack;
    /** Number of balancers. Clients hold the addresses of all. */
    readonly balancers: number;
    /** The port that clients call. */
    readonly port: number;
    /** Largest number of gateways. */
    readonly slots: number;
    /** Longest time that a gateway keeps its connections after it has left, seconds. */
    readonly drainSeconds: number;
    /** The service behind the balancers. */
    readonly service: GatewayService;
}

/** Outputs of a target's balancers. */
export interface BalancersOutputs<Resources = unknown> {
    /** Where clients call, `host:port`. A client that holds all of them survives the loss of a balancer. */
    readonly endpoints: pulumi.Output<string[]>;
    /** URLs of the balancers' status pages. */
    readonly statusPages: pulumi.Output<string[]>;
    /** Escape hatch: the machines' own resources. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch: what else the target has made. */
    readonly resources: Resources;
}

/** Arguments of a pool on every target. */
export interface PoolArgs<Discovery = unknown, Balancers = unknown> {
    /** Number of gateways; where the cloud scales the pool, the minimum. */
    readonly size: number;
    readonly service: GatewayService;
    readonly discovery: DiscoveryOutputs<Discovery> & pulumi.ComponentResource;
    /** The balancers in front. A changed gateway counts as deployed only once they send it calls. */
    readonly balancers: BalancersOutputs<Balancers> & Pick<BalancersArgs, "stack" | "port"> & pulumi.ComponentResource;
    /**
     * The policy for healing the pool; undefined: nothing heals it. Where a cloud's service does the healing, it is
     * compiled to the service's settings.
     */
    readonly replacement: ReplacementPolicyConfig | undefined;
}

/** Outputs of a target's pool. */
export interface PoolOutputs<Resources = unknown> {
    /** Where the gateways listen, `host:port`, behind the balancers; empty where that changes without a deployment. */
    readonly endpoints: pulumi.Output<string[]>;
    /** Escape hatch: the machines' own resources, or that of their group. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch: what else the target has made. */
    readonly resources: Resources;
}
