import * as pulumi from "@pulumi/pulumi";
import type { ConsulCluster } from "../roles/consul";
import type { SerfCluster } from "../roles/serf";
import { type AwsServiceDiscovery, awsServiceDiscovery } from "./aws/serviceDiscovery";
import type { LoadBalancerStack } from "./config";
import { localSerfDiscovery, localServiceDiscovery } from "./local/serviceDiscovery";
import {
    type OpenstackServiceDiscovery,
    openstackSerfDiscovery,
    openstackServiceDiscovery,
} from "./openstack/serviceDiscovery";
import type { Registry } from "./roles";
import type { Target } from "./target";

/** What knows the gateways: Consul's servers, or the balancers and gateways themselves by Serf's gossip. */
export type RegistryKind = "consul" | "serf";

/** What a stack of load balancing finds the gateways by. */
export function registryOf(stack: LoadBalancerStack): RegistryKind {
    return stack === "serf-haproxy" ? "serf" : "consul";
}

/** Arguments of {@link ServiceDiscovery}. */
export interface ServiceDiscoveryArgs<T extends Target = Target> {
    readonly target: T;
    /** Default `consul`. With `serf` there are no servers. */
    readonly registry?: RegistryKind;
    /** How many balancers there are: with Serf they are the members that the others join. */
    readonly balancers: number;
    /** How many Consul servers: 1, 3 or 5. */
    readonly servers: number;
    readonly datacenter: string;
    /** The name under which gateways are registered. */
    readonly gatewayService: string;
}

/** What an implementation of {@link ServiceDiscovery} by Serf gives. */
export interface SerfDiscoveryOutputs {
    /** What an agent has to know to join. */
    readonly serf: pulumi.Output<SerfCluster>;
    /** The secrets that the roles refer to, by name. Secret. */
    readonly secrets: pulumi.Output<Record<string, string>>;
}

/** What an implementation of {@link ServiceDiscovery} by Consul gives. */
export interface ServiceDiscoveryOutputs {
    /** What an agent has to know to join. */
    readonly cluster: pulumi.Output<ConsulCluster>;
    /** HTTPS API addresses of the servers, `host:port`. Certificates are signed by `cluster.caCertificate`. */
    readonly api: pulumi.Output<string[]>;
    /** URL of Consul's user interface. */
    readonly ui: pulumi.Output<string>;
    /** The secrets that the roles refer to, by name. Secret. */
    readonly secrets: pulumi.Output<Record<string, string>>;
    /** Escape hatch: the machines' own resources, and what waits for them. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch on target `aws`: what is around the machines. */
    readonly aws?: AwsServiceDiscovery;
    /** Escape hatch on target `openstack`: the machines with their ports, and what is around them. */
    readonly openstack?: OpenstackServiceDiscovery;
}

/** Consul servers, where gateways are registered, and where balancers and the replacement loop look; or Serf, without any. */
export class ServiceDiscovery extends pulumi.ComponentResource implements ServiceDiscoveryOutputs {
    /** What a Serf agent has to know; undefined when the registry is Consul. */
    readonly serf: pulumi.Output<SerfCluster> | undefined;
    private readonly consul: ServiceDiscoveryOutputs | undefined;
    readonly secrets: pulumi.Output<Record<string, string>>;
    readonly machines: readonly pulumi.CustomResource[];
    declare readonly aws?: AwsServiceDiscovery;
    declare readonly openstack?: OpenstackServiceDiscovery;

    constructor(name: string, args: ServiceDiscoveryArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:ServiceDiscovery", name, {}, opts);
        if (args.registry === "serf") {
            const made = serfImplementation(name, args, this);
            this.serf = made.serf;
            this.secrets = made.secrets;
            this.machines = [];
            this.registerOutputs({});
            return;
        }
        const made = implementation(name, args, this);
        this.consul = made;
        this.secrets = made.secrets;
        this.machines = made.machines;
        if (made.aws) this.aws = made.aws;
        if (made.openstack) this.openstack = made.openstack;
        this.registerOutputs({ api: made.api, ui: made.ui });
    }

    /** Whether the registry is Consul. Where it is not, {@link cluster}, {@link api} and {@link ui} throw. */
    get hasConsul(): boolean {
        return this.consul !== undefined;
    }

    /** What a machine has to know to find the others. */
    get registry(): pulumi.Output<Registry> {
        if (this.serf) return this.serf.apply((cluster): Registry => ({ kind: "serf", cluster }));
        return this.cluster.apply((cluster): Registry => ({ kind: "consul", cluster }));
    }

    get cluster(): pulumi.Output<ConsulCluster> {
        return this.known.cluster;
    }

    get api(): pulumi.Output<string[]> {
        return this.known.api;
    }

    get ui(): pulumi.Output<string> {
        return this.known.ui;
    }

    private get known(): ServiceDiscoveryOutputs {
        if (!this.consul) throw new Error("this deployment has no Consul");
        return this.consul;
    }
}

function implementation(name: string, args: ServiceDiscoveryArgs, parent: pulumi.Resource): ServiceDiscoveryOutputs {
    const { target } = args;
    switch (target.kind) {
        case "local":
            return localServiceDiscovery(name, { ...args, target }, parent);
        case "aws":
            return awsServiceDiscovery(name, { ...args, target }, parent);
        case "openstack":
            return openstackServiceDiscovery(name, { ...args, target }, parent);
    }
}

function serfImplementation(name: string, args: ServiceDiscoveryArgs, parent: pulumi.Resource): SerfDiscoveryOutputs {
    const { target } = args;
    switch (target.kind) {
        case "local":
            return localSerfDiscovery(name, { ...args, target }, parent);
        case "aws":
            throw new Error("target aws has no Serf in this version");
        case "openstack":
            return openstackSerfDiscovery(name, { ...args, target }, parent);
    }
}
