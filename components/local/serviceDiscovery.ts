import * as pulumi from "@pulumi/pulumi";
import { consulPorts } from "../../roles/consul";
import { processLayout, renderProcess } from "../../roles/render/process";
import type { Gate } from "../../supervisor/gates";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../roles";
import type { ServiceDiscoveryArgs, ServiceDiscoveryOutputs } from "../serviceDiscovery";
import type { LocalTarget } from "../target";
import { LocalInstance } from "./instance";

/** Serf needs no machine of its own: members join the balancers, whose addresses do not change. */
export function localSerfDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<LocalTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { provider, addresses } = args.target;
    const { secrets } = new Credentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: [], registry: "serf" },
        { parent, provider },
    );
    const join = [...Array(args.balancers).keys()].map(addresses.balancer);
    return { registry: pulumi.output(registryBy.serf(serfCluster(join))), secrets, machines: [] };
}

/** Consul servers as machines of this computer. */
export function localConsulDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<LocalTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { provider } = args.target;
    const indices = [...Array(args.servers).keys()];
    const addresses = indices.map(args.target.addresses.discovery);
    const { datacenter, gatewayService } = args;
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses },
        { parent, provider },
    );
    const cluster = credentials.caCertificate.apply((caCertificate) =>
        consulCluster({ datacenter, join: addresses, servers: args.servers, caCertificate }),
    );

    const quorum: Gate = { kind: "quorum", servers: addresses.map((address) => `${address}:${consulPorts.http}`) };
    const servers: LocalInstance[] = [];
    for (const index of indices) {
        const layout = processLayout(machineName.discovery(index), addresses[index] as string);
        const machine = pulumi
            .all([cluster, credentials.serverCertificate])
            .apply(([known, certificate]) =>
                renderProcess(
                    discoveryRole({ cluster: known, certificate, gatewayService, keepsNodeId: true }, layout),
                    layout,
                ),
            );
        // There is a leader only once all of them are up, so just the last one waits for it, and for the tokens.
        const last = index === args.servers - 1;
        const create: Gate[] = last ? [quorum, { kind: "services" }] : [{ kind: "services", except: ["consul-acl"] }];
        servers.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    machine,
                    secrets: credentials.secrets,
                    onChange: "update",
                    gates: { create, update: [{ kind: "services" }, quorum] },
                },
                // One after the other: an update must never take two servers at once.
                { parent, provider, dependsOn: servers.slice(-1) },
            ),
        );
    }
    return {
        registry: cluster.apply(registryBy.consul),
        consul: {
            cluster,
            api: pulumi.output(addresses.map(consulApiAt)),
            ui: pulumi.output(`http://${addresses[0]}:${consulPorts.http}/ui`),
        },
        secrets: credentials.secrets,
        machines: servers,
    };
}
