import * as pulumi from "@pulumi/pulumi";
import { consulPorts } from "../../roles/consul";
import { consulServer } from "../../roles/consulServer";
import { processLayout, renderProcess } from "../../roles/render/process";
import { versions } from "../../scripts/tools/manifest";
import type { SerfDiscoveryOutputs, ServiceDiscoveryArgs, ServiceDiscoveryOutputs } from "../serviceDiscovery";
import { machineName } from "./addresses";
import { bundle } from "./bundles";
import { LocalCredentials } from "./credentials";
import type { Gate } from "./gates";
import { LocalInstance } from "./instance";

/** Serf needs no machine of its own: members join the balancers, whose addresses do not change. */
export function localSerfDiscovery(
    name: string,
    args: ServiceDiscoveryArgs,
    parent: pulumi.Resource,
): SerfDiscoveryOutputs {
    const { provider, addresses } = args.target;
    const { secrets } = new LocalCredentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: [], registry: "serf" },
        { parent, provider },
    );
    const join = [...Array(args.balancers).keys()].map(addresses.balancer);
    return { serf: pulumi.output({ join, version: versions.serf }), secrets };
}

/** Consul servers as machines of this computer. */
export function localServiceDiscovery(
    name: string,
    args: ServiceDiscoveryArgs,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { provider } = args.target;
    const indices = [...Array(args.servers).keys()];
    const addresses = indices.map(args.target.addresses.discovery);
    const credentials = new LocalCredentials(
        `${name}-credentials`,
        { datacenter: args.datacenter, servers: addresses },
        { parent, provider },
    );
    const cluster = credentials.caCertificate.apply((caCertificate) => ({
        datacenter: args.datacenter,
        join: addresses,
        servers: args.servers,
        caCertificate,
        version: versions.consul,
    }));

    const aclBundle = bundle("consul-acl");
    const quorum: Gate = { kind: "quorum", servers: addresses.map((address) => `${address}:${consulPorts.http}`) };
    const servers: LocalInstance[] = [];
    for (const index of indices) {
        const layout = processLayout(machineName.discovery(index), addresses[index] as string);
        const machine = pulumi
            .all([cluster, credentials.serverCertificate])
            .apply(([known, certificate]) =>
                renderProcess(
                    consulServer(
                        { cluster: known, certificate, gatewayService: args.gatewayService, aclBundle },
                        layout,
                    ),
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
        cluster,
        api: pulumi.output(addresses.map((address) => `${address}:${consulPorts.https}`)),
        ui: pulumi.output(`http://${addresses[0]}:${consulPorts.http}/ui`),
        secrets: credentials.secrets,
        machines: servers,
    };
}
