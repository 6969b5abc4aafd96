/** The roles of the three kinds of machines, assembled from the configuration. They are the same on every target. */

import { serfTags } from "../clients/serf";
import type { GatewayService, LoadBalancerStack } from "../config";
import type { Binary, Layout } from "../programs/machine";
import { type ConsulCluster, consulPorts } from "../roles/consul";
import { consulAgent } from "../roles/consulAgent";
import { consulServer } from "../roles/consulServer";
import { gateway } from "../roles/gateway";
import { gatewayHealth, healthUrl } from "../roles/gatewayHealth";
import { consulTemplateHaproxy } from "../roles/loadBalancer/consulTemplateHaproxy";
import { fabio, fabioTag } from "../roles/loadBalancer/fabio";
import { serfHaproxy } from "../roles/loadBalancer/serfHaproxy";
import { mergeRoles, type Role } from "../roles/role";
import { type SerfCluster, serfAgent } from "../roles/serf";
import { versions } from "../toolchain/manifest";
import type { ProgramFiles } from "./programFiles";

/** How the machines of a deployment find each other. */
export type Registry =
    | { readonly kind: "consul"; readonly cluster: ConsulCluster }
    | { readonly kind: "serf"; readonly cluster: SerfCluster };

/** The registry of the gateways: Consul's servers, or Serf's gossip among the balancers and gateways themselves. */
export type RegistryKind = Registry["kind"];

/** Creates each kind of {@link Registry} from what its agents need to know. */
export const registryBy = {
    consul: (cluster: ConsulCluster): Registry => ({ kind: "consul", cluster }),
    serf: (cluster: SerfCluster): Registry => ({ kind: "serf", cluster }),
} as const;

/**
 * A registry of which only the kind is known. It suffices for what must be known before addresses and certificates are,
 * such as a machine's ports and the names of its secrets.
 */
export function unknownRegistry({ consul }: { readonly consul?: object | undefined }): Registry {
    if (!consul) return registryBy.serf(serfCluster([]));
    return registryBy.consul(consulCluster({ datacenter: "", join: [], servers: 3, caCertificate: "" }));
}

/** Where the roles get this project's programs. */
type Files = Pick<ProgramFiles, "bundle">;

/** A Consul server. */
export function discoveryRole(
    files: Files,
    args: {
        readonly cluster: ConsulCluster;
        /** The servers' certificate, PEM. */
        readonly certificate: string;
        /** The name under which gateways are registered. */
        readonly gatewayService: string;
        /** See the role's argument of this name. Default false. */
        readonly keepsNodeId?: boolean;
    },
    layout: Layout,
): Role {
    return consulServer({ ...args, aclBundle: files.bundle("consul-acl") }, layout);
}

/** A balancer: the load balancing stack, and the agent by which it finds the gateways. */
export function balancerRole(
    files: Files,
    args: {
        readonly registry: Registry;
        readonly stack: LoadBalancerStack;
        readonly service: GatewayService;
        /** The port that clients call. */
        readonly port: number;
        /** The address at which they call it. Default the machine's own. */
        readonly listen?: string;
        /** The networks of the gateways, in CIDR notation. */
        readonly networks: readonly string[];
        /** Largest number of gateways. */
        readonly slots: number;
        /** Longest time that a gateway keeps its connections after it has left, seconds. */
        readonly drainSeconds: number;
    },
    layout: Layout,
): Role {
    const { registry, stack, service, port, networks, slots, drainSeconds } = args;
    const listen = args.listen === undefined ? {} : { listen: args.listen };
    const haproxy = () => ({
        port,
        ...listen,
        networks,
        slots,
        maxConnections: service.maxConnections,
        ...(service.queueSeconds === undefined ? {} : { queueSeconds: service.queueSeconds }),
        ...(service.maxQueue === undefined ? {} : { maxQueue: service.maxQueue }),
        ...(service.idleSeconds === undefined ? {} : { idleSeconds: service.idleSeconds }),
        ...(service.checks === undefined ? {} : { checks: service.checks }),
        drainSeconds,
        reconcilerBundle: files.bundle("reconciler"),
        haproxyVersion: versions.haproxy,
    });
    if (registry.kind === "serf") {
        if (stack !== "serf-haproxy") throw new Error(`the stack ${stack} needs Consul`);
        return mergeRoles(
            "balancer",
            serfAgent({ cluster: registry.cluster, tags: serfTags.balancer }, layout),
            serfHaproxy({ ...haproxy(), membersBundle: files.bundle("serf-members") }, layout),
        );
    }
    const { cluster } = registry;
    switch (stack) {
        case "consul-template-haproxy":
            return mergeRoles(
                "balancer",
                consulAgent({ cluster, agentToken: "balancerAgentToken" }, layout),
                consulTemplateHaproxy(
                    {
                        ...haproxy(),
                        service: service.name,
                        datacenter: cluster.datacenter,
                        consulTemplateVersion: versions["consul-template"],
                    },
                    layout,
                ),
            );
        case "fabio":
            return mergeRoles(
                "balancer",
                consulAgent({ cluster, agentToken: "balancerAgentToken", defaultToken: "fabioToken" }, layout),
                fabio({ port, ...listen, drainSeconds, version: versions.fabio }, layout),
            );
        case "serf-haproxy":
            throw new Error("the stack serf-haproxy needs Serf");
    }
}

/** A gateway: the configured server, its health endpoint, and the agent by which balancers find it. */
export function gatewayRole(
    files: Files,
    args: {
        readonly registry: Registry;
        readonly service: GatewayService;
        /** The balancers in front of it. */
        readonly balancers: { readonly stack: LoadBalancerStack; readonly port: number };
    },
    layout: Layout,
): Role {
    const { registry, service, balancers } = args;
    return mergeRoles(
        "gateway",
        membership(args, layout),
        gatewayHealth({ service, haproxyVersion: versions.haproxy }, layout),
        gateway(
            {
                name: service.name,
                port: service.port,
                ...workloadOf(files, service),
                environment: service.environment,
                stopTimeoutSeconds: service.stopTimeoutSeconds,
                drainBundle: files.bundle("drain"),
                registry:
                    registry.kind === "serf"
                        ? { kind: "serf" }
                        : { kind: "consul", token: "gatewayAgentToken", goesAtOnce: withoutChecks(balancers) },
            },
            layout,
        ),
    );
}

/** The agent by which balancers find a gateway. */
function membership({ registry, service, balancers }: Parameters<typeof gatewayRole>[1], layout: Layout): Role {
    if (registry.kind === "serf") {
        return serfAgent({ cluster: registry.cluster, tags: serfTags.gateway(service.port) }, layout);
    }
    return consulAgent(
        {
            cluster: registry.cluster,
            agentToken: "gatewayAgentToken",
            registration: {
                name: service.name,
                port: service.port,
                healthUrl: healthUrl(layout),
                token: "gatewayAgentToken",
                // Always set, so that the stack can be changed to Fabio before the gateways are.
                tags: [fabioTag(balancers.port)],
                ...(withoutChecks(balancers) ? { failuresBeforeCritical: 0 } : {}),
            },
        },
        layout,
    );
}

/** Whether the balancers know of a gateway only what Consul tells them. */
function withoutChecks({ stack }: { readonly stack: LoadBalancerStack }): boolean {
    return stack === "fabio";
}

/** What an agent needs to know to join the servers at these places. */
export function consulCluster(args: {
    readonly datacenter: string;
    /** Where the servers are: addresses or, on a cloud, auto-join expressions. */
    readonly join: readonly string[];
    readonly servers: number;
    readonly caCertificate: string;
}): ConsulCluster {
    return { ...args, version: versions.consul };
}

/** What a Serf agent needs to know to join the members at these addresses. */
export function serfCluster(join: readonly string[]): SerfCluster {
    return { join, version: versions.serf };
}

/** A Consul server's HTTPS API, `host:port`. */
export const consulApiAt = (address: string): string => `${address}:${consulPorts.https}`;

/** The command line of the server that the pool runs, and what it needs on the machine. */
function workloadOf(
    files: Files,
    service: GatewayService,
): {
    argv: (layout: Layout) => readonly string[];
    binaries: readonly Binary[];
    drainsItself?: boolean;
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
                binaries: [
                    { name: "gateway-sample.cjs", source: { kind: "bundle", ...files.bundle("gateway-sample") } },
                ],
                drainsItself: true,
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
            throw new Error("a container image cannot be run in this version");
    }
}

/** The configured command line. `{address}` and `{port}` stand for where the gateway must listen. */
function onMachine(service: GatewayService, layout: Layout): string[] {
    return service.argv.map((word) =>
        word.replaceAll("{address}", layout.address).replaceAll("{port}", String(service.port)),
    );
}
