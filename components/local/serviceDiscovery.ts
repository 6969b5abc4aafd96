import * as pulumi from "@pulumi/pulumi";
import type { ReadinessCondition } from "../../clients/readiness";
import { consulPorts } from "../../roles/consul";
import { processLayout, renderProcess } from "../../roles/render/process";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../machineRoles";
import type { DiscoveryArgs, DiscoveryOutputs } from "../target";
import type { LocalContext } from "./context";
import { LocalInstance } from "./instance";

/** Serf needs no machine of its own: members join the balancers, whose addresses do not change. */
export function localSerfDiscovery(
    { addresses }: LocalContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<undefined> {
    const { secrets } = new Credentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: [], registry: "serf" },
        { parent },
    );
    const join = [...Array(args.balancers).keys()].map(addresses.balancer);
    return { registry: pulumi.output(registryBy.serf(serfCluster(join))), secrets, machines: [], resources: undefined };
}

/** Consul servers as machines of this computer. */
export function localConsulDiscovery(
    { addresses: places, files, area }: LocalContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<undefined> {
    const indices = [...Array(args.servers).keys()];
    const addresses = indices.map(places.discovery);
    const { datacenter, gatewayService } = args;
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses, gatewayService },
        { parent },
    );
    const cluster = credentials.caCertificate.apply((caCertificate) =>
        consulCluster({ datacenter, join: addresses, servers: args.servers, caCertificate }),
    );

    const quorum: ReadinessCondition = {
        kind: "quorum",
        servers: addresses.map((address) => `${address}:${consulPorts.http}`),
    };
    const servers: LocalInstance[] = [];
    for (const index of indices) {
        const layout = processLayout(machineName.discovery(index), addresses[index] as string);
        const machine = pulumi
            .all([cluster, credentials.serverCertificate])
            .apply(([known, certificate]) =>
                renderProcess(
                    discoveryRole(files, { cluster: known, certificate, gatewayService, keepsNodeId: true }, layout),
                    layout,
                ),
            );
        // There is a leader only once all of them are up, so only the last one waits for it and for the tokens.
        const last = index === args.servers - 1;
        const create: ReadinessCondition[] = last
            ? [quorum, { kind: "services" }]
            : [{ kind: "services", except: ["consul-acl"] }];
        servers.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    area,
                    machine,
                    secrets: credentials.secrets,
                    onChange: "update",
                    gates: { create, update: [{ kind: "services" }, quorum] },
                },
                // One after the other: an update must never take two servers at once.
                { parent, dependsOn: servers.slice(-1) },
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
        resources: undefined,
    };
}
