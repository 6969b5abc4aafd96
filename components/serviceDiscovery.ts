import * as pulumi from "@pulumi/pulumi";
import type { ConsulCluster } from "../roles/consul";
import { localServiceDiscovery } from "./local/serviceDiscovery";
import type { Target } from "./target";

/** Arguments of {@link ServiceDiscovery}. */
export interface ServiceDiscoveryArgs {
    readonly target: Target;
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
    /** Escape hatch: the machines' own resources. */
    readonly machines: readonly pulumi.CustomResource[];
}

/** Consul servers: where gateways are registered, and where balancers and the replacement loop look. */
export class ServiceDiscovery extends pulumi.ComponentResource implements ServiceDiscoveryOutputs {
    readonly cluster: pulumi.Output<ConsulCluster>;
    readonly api: pulumi.Output<string[]>;
    readonly ui: pulumi.Output<string>;
    readonly secrets: pulumi.Output<Record<string, string>>;
    readonly machines: readonly pulumi.CustomResource[];

    constructor(name: string, args: ServiceDiscoveryArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:index:ServiceDiscovery", name, {}, opts);
        const made = localServiceDiscovery(name, args, this);
        this.cluster = made.cluster;
        this.api = made.api;
        this.ui = made.ui;
        this.secrets = made.secrets;
        this.machines = made.machines;
        this.registerOutputs({ api: this.api, ui: this.ui });
    }
}
