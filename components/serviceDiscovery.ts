import * as pulumi from "@pulumi/pulumi";
import type { ConsulCluster } from "../roles/consul";
import { type AwsServiceDiscovery, awsServiceDiscovery } from "./aws/serviceDiscovery";
import { localServiceDiscovery } from "./local/serviceDiscovery";
import type { Target } from "./target";

/** Arguments of {@link ServiceDiscovery}. */
export interface ServiceDiscoveryArgs<T extends Target = Target> {
    readonly target: T;
    /** How many Consul servers: 1, 3 or 5. */
    readonly servers: number;
    readonly datacenter: string;
    /** The name under which gateways are registered. */
    readonly gatewayService: string;
}

/** What an implementation of {@link ServiceDiscovery} gives. */
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
}

/** Consul servers: where gateways are registered, and where balancers and the replacement loop look. */
export class ServiceDiscovery extends pulumi.ComponentResource implements ServiceDiscoveryOutputs {
    readonly cluster: pulumi.Output<ConsulCluster>;
    readonly api: pulumi.Output<string[]>;
    readonly ui: pulumi.Output<string>;
    readonly secrets: pulumi.Output<Record<string, string>>;
    readonly machines: readonly pulumi.CustomResource[];
    declare readonly aws?: AwsServiceDiscovery;

    constructor(name: string, args: ServiceDiscoveryArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:ServiceDiscovery", name, {}, opts);
        const made = implementation(name, args, this);
        this.cluster = made.cluster;
        this.api = made.api;
        this.ui = made.ui;
        this.secrets = made.secrets;
        this.machines = made.machines;
        if (made.aws) this.aws = made.aws;
        this.registerOutputs({ api: this.api, ui: this.ui });
    }
}

function implementation(name: string, args: ServiceDiscoveryArgs, parent: pulumi.Resource): ServiceDiscoveryOutputs {
    const { target } = args;
    switch (target.kind) {
        case "local":
            return localServiceDiscovery(name, { ...args, target }, parent);
        case "aws":
            return awsServiceDiscovery(name, { ...args, target }, parent);
    }
}
