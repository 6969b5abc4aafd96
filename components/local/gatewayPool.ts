import * as pulumi from "@pulumi/pulumi";
import { localPolicy, resolvePolicy } from "../../replacement/policy";
import { consulAgent } from "../../roles/consulAgent";
import { gateway } from "../../roles/gateway";
import { gatewayHealth, healthUrl } from "../../roles/gatewayHealth";
import { fabioTag } from "../../roles/loadBalancer/fabio";
import { processLayout, renderProcess } from "../../roles/render/process";
import { type Binary, type Layout, mergeRoles, type Role } from "../../roles/role";
import { serfAgent, serfTags } from "../../roles/serf";
import { versions } from "../../scripts/tools/manifest";
import type { GatewayService } from "../config";
import type { GatewayPoolArgs, GatewayPoolOutputs } from "../gatewayPool";
import { machineName } from "./addresses";
import { bundle } from "./bundles";
import type { Gate } from "./gates";
import { LocalInstance } from "./instance";
import { localReplacer } from "./replacer";

/** Gateways as machines of this computer, each in a slot of its own, and the loop that replaces dead ones. */
export function localGatewayPool(name: string, args: GatewayPoolArgs, parent: pulumi.Resource): GatewayPoolOutputs {
    const { service, discovery, balancers, target } = args;
    const { provider } = target;
    const workload = workloadOf(service);
    const drainBundle = bundle("drain");

    const gateways: LocalInstance[] = [];
    const endpoints: string[] = [];
    for (const index of Array(args.size).keys()) {
        const layout = processLayout(machineName.gateway(index), target.addresses.gateway(index));
        const endpoint = `${layout.address}:${service.port}`;
        const machine = membership(args, layout).apply((agent) =>
            renderProcess(
                mergeRoles(
                    "gateway",
                    agent,
                    gatewayHealth({ service, haproxyVersion: versions.haproxy }, layout),
                    gateway(
                        {
                            name: service.name,
                            port: service.port,
                            ...workload,
                            environment: service.environment,
                            stopTimeoutSeconds: service.stopTimeoutSeconds,
                            drainBundle,
                            registry: discovery.serf
                                ? { kind: "serf" }
                                : { kind: "consul", token: "gatewayAgentToken" },
                        },
                        layout,
                    ),
                ),
                layout,
            ),
        );
        endpoints.push(endpoint);
        gateways.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    machine,
                    secrets: discovery.secrets,
                    onChange: "replace",
                    // Not deployed before calls arrive: or a roll-out would take the next one too early.
                    gates: {
                        create: balancers.statusPages.apply((pages): Gate[] => [
                            { kind: "services" },
                            { kind: "rotation", balancers: pages, address: layout.address },
                        ]),
                        update: [],
                    },
                },
                // One after the other. The discovery servers have to have a leader, and the balancers to run.
                { parent, provider, dependsOn: index === 0 ? [discovery, balancers] : gateways.slice(-1) },
            ),
        );
    }
    if (args.replacement) {
        const policy = resolvePolicy(localPolicy, args.replacement);
        localReplacer(`${name}-replacer`, { target, discovery, balancers, service, policy }, parent, gateways);
    }
    return { endpoints: pulumi.output(endpoints), machines: gateways };
}

/** The agent by which balancers find the gateway. */
function membership({ discovery, balancers, service }: GatewayPoolArgs, layout: Layout): pulumi.Output<Role> {
    if (discovery.serf) {
        return discovery.serf.apply((cluster) => serfAgent({ cluster, tags: serfTags.gateway(service.port) }, layout));
    }
    return discovery.cluster.apply((cluster) =>
        consulAgent(
            {
                cluster,
                agentToken: "gatewayAgentToken",
                registration: {
                    name: service.name,
                    port: service.port,
                    healthUrl: healthUrl(layout),
                    token: "gatewayAgentToken",
                    // Always there, so that the stack can be changed to Fabio before the gateways are.
                    tags: [fabioTag(balancers.port)],
                    // Fabio has no checks of its own.
                    ...(balancers.stack === "fabio" ? { failuresBeforeCritical: 0 } : {}),
                },
            },
            layout,
        ),
    );
}

/** The command line of the server that the pool runs, and what it needs on the machine. */
function workloadOf(service: GatewayService): {
    argv: (layout: Layout) => readonly string[];
    binaries: readonly Binary[];
} {
    const { install, healthCheck } = service;
    switch (install.kind) {
        case "sample": {
            const thrift = healthCheck.kind === "thrift" ? healthCheck : undefined;
            return {
                argv: (layout) => [
                    `${layout.bin}/node`,
                    `${layout.bin}/gateway-sample.cjs`,
                    `--host=${layout.address}`,
                    `--port=${service.port}`,
                    `--drain-seconds=${service.stopTimeoutSeconds - 1}`,
                    ...(thrift?.framed ? ["--framed"] : []),
                    ...(thrift?.service ? ["--multiplexed"] : []),
                ],
                binaries: [{ name: "gateway-sample.cjs", source: { kind: "bundle", ...bundle("gateway-sample") } }],
            };
        }
        case "archive":
            return {
                argv: (layout) => {
                    const [program = "", ...rest] = onMachine(service, layout);
                    return [`${layout.bin}/${service.name}/${program}`, ...rest];
                },
                binaries: [
                    { name: service.name, source: { kind: "archive", url: install.url, sha256: install.sha256 } },
                ],
            };
        case "prebaked":
            return { argv: (layout) => onMachine(service, layout), binaries: [] };
        case "image":
            throw new Error("a container image cannot run on target local");
    }
}

/** The configured command line, with `{address}` and `{port}` standing for where the gateway has to listen. */
function onMachine(service: GatewayService, layout: Layout): string[] {
    return service.argv.map((word) =>
        word.replaceAll("{address}", layout.address).replaceAll("{port}", String(service.port)),
    );
}
