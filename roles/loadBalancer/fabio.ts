/** The stack Fabio: one program that reads its routes from Consul and proxies TCP. */

import { endpoint } from "../../lib/endpoint";
import type { Layout } from "../../programs/machine";
import { consulApi } from "../consul";
import type { Role } from "../role";
import { balancerStatusPort } from "./balancer";

/** The name under which Fabio registers itself in Consul. */
export const fabioService = "fabio";

/** Arguments of {@link fabio}. */
export interface FabioArgs {
    /** The port that clients call. */
    readonly port: number;
    /** The address at which clients call it. Default the machine's own; `0.0.0.0` where it may have others. */
    readonly listen?: string;
    /** How long open connections may go on after the balancer stops taking new ones, seconds. */
    readonly drainSeconds: number;
    /** Version of the tool `fabio`. */
    readonly version: string;
}

/** Time between Fabio leaving Consul and closing the port, seconds. */
const LEAVE_SECONDS = 5;

/** The tag by which a gateway gets the calls that arrive at a port from Fabio. Other balancers ignore it. */
export function fabioTag(port: number): string {
    return `urlprefix-:${port} proto=tcp`;
}

/**
 * Fabio's settings.
 *
 * The token is not among them, because Fabio would show it to everybody on `/api/config`. The machine's Consul agent
 * has it as its default token.
 */
function properties(args: FabioArgs, layout: Layout): string {
    const settings: Readonly<Record<string, string>> = {
        "proxy.addr": `${endpoint(args.listen ?? layout.address, args.port)};proto=tcp`,
        // Fabio has no strategy that counts connections.
        "proxy.strategy": "rr",
        "proxy.dialtimeout": "500ms",
        "proxy.deregistergraceperiod": `${LEAVE_SECONDS}s`,
        "proxy.shutdownwait": `${args.drainSeconds}s`,
        "registry.backend": "consul",
        // By default Fabio exits if Consul does not answer for 10 s at its start.
        "registry.timeout": "5m",
        "registry.consul.addr": consulApi(layout),
        "registry.consul.kvpath": `/${fabioService}/config`,
        "registry.consul.noroutehtmlpath": `/${fabioService}/noroute.html`,
        "registry.consul.register.enabled": "true",
        "registry.consul.register.name": fabioService,
        "registry.consul.register.addr": endpoint(layout.address, balancerStatusPort),
        // By default an instance gets calls even if half of its checks fail.
        "registry.consul.checksRequired": "all",
        "registry.consul.service.status": "passing",
        "ui.addr": endpoint(layout.address, balancerStatusPort),
        "ui.access": "ro",
        "log.level": "WARN",
    };
    return `${Object.entries(settings)
        .map(([key, value]) => `${key} = ${value}`)
        .join("\n")}\n`;
}

/** A balancer of the stack, without the Consul agent (service `consul`) that the machine needs besides. */
export function fabio(args: FabioArgs, layout: Layout): Role {
    const config = `${layout.etc}/fabio/fabio.properties`;
    return {
        name: "balancer",
        files: [{ path: config, content: properties(args, layout) }],
        services: [
            {
                name: "fabio",
                description: "Balancer",
                argv: [`${layout.bin}/fabio`, "-cfg", config],
                user: "fabio",
                after: ["consul"],
                // It opens the port once it has its first routing table.
                ready: { kind: "tcp", host: layout.address, port: args.port },
                stopTimeoutSeconds: LEAVE_SECONDS + args.drainSeconds + 2,
            },
        ],
        binaries: [{ name: "fabio", source: { kind: "tool", tool: "fabio", version: args.version } }],
        users: ["fabio"],
        ports: [
            { name: "balancer", port: args.port, protocol: "tcp", reach: "clients" },
            { name: "balancer-status", port: balancerStatusPort, protocol: "tcp", reach: "deployment" },
        ],
        healthChecks: [{ name: "balancer", probe: { kind: "tcp", host: layout.address, port: args.port } }],
        // Fabio sets no limit on unacknowledged data as HAProxy does (`tcp-ut`). With these settings a connection to a
        // lost host ends after 12.6 s (200 ms, doubled six times) and not after 924 s.
        sysctls: { "net.ipv4.tcp_retries2": 5 },
    };
}
