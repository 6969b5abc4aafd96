import * as pulumi from "@pulumi/pulumi";
import type { ConsulCluster } from "../roles/consul";
import { type AwsServiceDiscovery, awsConsulDiscovery, awsSerfDiscovery } from "./aws/serviceDiscovery";
import type { LoadBalancerStack } from "./config";
import { localConsulDiscovery, localSerfDiscovery } from "./local/serviceDiscovery";
import {
    type OpenstackServiceDiscovery,
    openstackConsulDiscovery,
    openstackSerfDiscovery,
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

/** Consul's servers, for those who ask them. */
export interface ConsulServers {
    /** What an agent has to know to join. */
    readonly cluster: pulumi.Output<ConsulCluster>;
    /** HTTPS API addresses of the servers, `host:port`. Certificates are signed by `cluster.caCertificate`. */
    readonly api: pulumi.Output<string[]>;
    /** URL of Consul's user interface. */
    readonly ui: pulumi.Output<string>;
}

/** What an implementation of {@link ServiceDiscovery} gives. */
export interface ServiceDiscoveryOutputs {
    /** What a machine has to know to find the others. */
    readonly registry: pulumi.Output<Registry>;
    /** Where the registry is Consul: its servers. */
    readonly consul?: ConsulServers;
    /** The secrets that the roles refer to, by name. Secret. */
    readonly secrets: pulumi.Output<Record<string, string>>;
    /** Escape hatch: the machines' own resources, and what waits for them; none with Serf. */
    readonly machines: readonly pulumi.CustomResource[];
    /** Escape hatch on target `aws`: what belongs to it there. */
    readonly aws?: AwsServiceDiscovery;
    /** Escape hatch on target `openstack`: the machines with their ports, and what is around them. */
    readonly openstack?: OpenstackServiceDiscovery;
}

/** Consul servers, where gateways are registered, and where balancers and the replacement loop look; or Serf, without any. */
export class ServiceDiscovery extends pulumi.ComponentResource {
    /** What a machine has to know to find the others. */
    readonly registry: pulumi.Output<Registry>;
    private readonly consul: ConsulServers | undefined;
    readonly secrets: pulumi.Output<Record<string, string>>;
    readonly machines: readonly pulumi.CustomResource[];
    declare readonly aws?: AwsServiceDiscovery;
    declare readonly openstack?: OpenstackServiceDiscovery;

    constructor(name: string, args: ServiceDiscoveryArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:ServiceDiscovery", name, {}, opts);
        const made = implementation(name, args, this);
        this.registry = made.registry;
        this.consul = made.consul;
        this.secrets = made.secrets;
        this.machines = made.machines;
        if (made.aws) this.aws = made.aws;
        if (made.openstack) this.openstack = made.openstack;
        this.registerOutputs(made.consul ? { api: made.consul.api, ui: made.consul.ui } : {});
    }

    /** Whether the registry is Consul. Where it is not, {@link cluster}, {@link api} and {@link ui} throw. */
    get hasConsul(): boolean {
        return this.consul !== undefined;
    }

    get cluster(): pulumi.Output<ConsulCluster> {
        return this.servers.cluster;
    }

    get api(): pulumi.Output<string[]> {
        return this.servers.api;
    }

    get ui(): pulumi.Output<string> {
        return this.servers.ui;
    }

    private get servers(): ConsulServers {
        if (!this.consul) throw new Error("this deployment has no Consul");
        return this.consul;
    }
}

function implementation(name: string, args: ServiceDiscoveryArgs, parent: pulumi.Resource): ServiceDiscoveryOutputs {
    const { target, registry = "consul" } = args;
    switch (target.kind) {
        case "local": {
            const make = { consul: localConsulDiscovery, serf: localSerfDiscovery }[registry];
            return make(name, { ...args, target }, parent);
        }
        case "aws": {
            const make = { consul: awsConsulDiscovery, serf: awsSerfDiscovery }[registry];
            return make(name, { ...args, target }, parent);
        }
        case "openstack": {
            const make = { consul: openstackConsulDiscovery, serf: openstackSerfDiscovery }[registry];
            return make(name, { ...args, target }, parent);
        }
    }
}
