/** HAProxy as a balancer with slots, and the reconciler that fills them: what all stacks with HAProxy share. */
import {
    checkCounts,
    connectTimeout,
    endpoint,
    haproxyArgv,
    haproxyBinary,
    haproxyFile,
    haproxyUser,
} from "../haproxy";
import { type HealthCheck, haproxyCheck } from "../healthCheck";
import type { Layout, Role } from "../role";
import type { ReconcilerSettings } from "./reconciler/settings";

/** The port of a balancer's status page. */
export const balancerStatusPort = 9192;

/** A program that `esbuild` has bundled to one file. */
export interface BundledProgram {
    readonly file: string;
    readonly sha256: string;
}

/** What every balancer with HAProxy has to know. */
export interface HaproxyBalancerArgs {
    /** The port that clients call. */
    readonly port: number;
    /** The address at which clients call it. Default the machine's own; `0.0.0.0` where it may have others. */
    readonly listen?: string;
    readonly healthCheck: HealthCheck;
    /** Largest number of gateways; at least 16 are made. */
    readonly slots: number;
    /** Connections that one gateway takes from this balancer at a time. */
    readonly maxConnections: number;
    /** Longest time that a gateway which left may keep its connections, seconds. */
    readonly drainSeconds: number;
    /** The bundled `reconciler/main.ts`. */
    readonly reconcilerBundle: BundledProgram;
    /** Lowest version of the tool `haproxy` that will do. */
    readonly haproxyVersion: string;
}

/** URL of a balancer's status page, without the slash at its end; `/;csv` and `/metrics` are for programs. */
export function balancerStatusUrl(layout: Pick<Layout, "address">): string {
    return `http://${endpoint(layout.address, balancerStatusPort)}`;
}

/** Where the files of a balancer are on its machine. */
export function balancerPaths(layout: Layout) {
    return {
        config: `${layout.etc}/haproxy/haproxy.cfg`,
        socket: `${layout.run}/haproxy.sock`,
        reconcilerConfig: `${layout.etc}/reconciler.json`,
        reconciler: `${layout.bin}/reconciler.cjs`,
        list: `${layout.run}/backends.json`,
        status: `${layout.run}/reconciler.json`,
        memory: `${layout.lib}/reconciler.json`,
    };
}

const BACKEND = "gateways";
const FRONTEND = "clients";
/** Fewer slots than this are not worth saving. */
const FEWEST_SLOTS = 16;
/** Connections of clients at a time. Each takes two of HAProxy's file descriptors. */
const CLIENTS = 8_000;
/**
 * Health checks, milliseconds: how often, how soon after one that failed, and how long each may take. A gateway that hangs is down
 * after 200 + 350 + 50 + 350 = 950 ms at most: before clients whose deadline is a second give up and connect again, for until then
 * the connections that hang there steer new ones away from it, as `balance` goes by their number.
 */
const CHECK = { every: 200, again: 50, timeout: 350 } as const;
/** A stopping balancer gives calls under way this long, seconds. */
const STOP_SECONDS = 5;
/** Keep-alive: a peer that is gone is noticed after 60 + 6 · 10 seconds, well before idle connections time out. */
const keepAlive = (side: "cli" | "srv") => [
    `option ${side}tcpka`,
    `${side}tcpka-idle 60s`,
    `${side}tcpka-intvl 10s`,
    `${side}tcpka-cnt 6`,
];

/** HAProxy's configuration as a balancer. */
export function balancerConfig(args: HaproxyBalancerArgs, layout: Layout): string {
    const paths = balancerPaths(layout);
    const server = [
        `check inter ${CHECK.every}ms fastinter ${CHECK.again}ms downinter 1s`,
        `fall ${checkCounts.fall} rise ${checkCounts.rise}`,
        // Failing connections of clients count as well, and are quicker than any check.
        "observe layer4 error-limit 3 on-error mark-down",
        // Sessions of a server that is down are cut by the reconciler. `on-marked-down shutdown-sessions` would also end
        // those that were just refused by it and are about to be sent to another, the one that marked it down among them.
        "tcp-ut 3s",
        // The reconciler lifts the limit for the time of the slow start; see its `plan.ts`.
        `slowstart 10s maxconn ${args.maxConnections}`,
    ].join(" ");
    return haproxyFile({
        global: [
            "log stdout format raw daemon notice",
            `maxconn ${CLIENTS}`,
            // With fewer file descriptors than that takes, it serves fewer clients rather than none.
            "no strict-limits",
            `hard-stop-after ${STOP_SECONDS}s`,
            `stats socket unix@${paths.socket} mode 600 level admin`,
        ],
        defaults: [
            "mode tcp",
            connectTimeout,
            `timeout check ${CHECK.timeout}ms`,
            "timeout queue 1s",
            // Longer than clients keep idle connections.
            "timeout client 1h",
            "timeout server 1h",
            "retries 3",
            // At once to another server, not only at the last of the retries.
            "option redispatch 1",
        ],
        [`frontend ${FRONTEND}`]: [
            `bind ${endpoint(args.listen ?? layout.address, args.port)}`,
            // Only what failed. Changes of servers are on the standard error anyway.
            "log global",
            "option tcplog",
            "option dontlog-normal",
            "option dontlognull",
            "option log-separate-errors",
            ...keepAlive("cli"),
            `default_backend ${BACKEND}`,
        ],
        [`backend ${BACKEND}`]: [
            // Of ten draws the server with the fewest connections: `leastconn`, save that a refused connection goes to
            // another server at once and not after `timeout connect` (HAProxy waits unless the algorithm is a rotation).
            "balance random(10)",
            ...keepAlive("srv"),
            ...haproxyCheck(args.healthCheck),
            `default-server ${server}`,
            `server-template gw 1-${Math.max(FEWEST_SLOTS, args.slots)} 127.0.0.1:1 disabled`,
        ],
        "frontend status": [
            "mode http",
            `bind ${endpoint(layout.address, balancerStatusPort)}`,
            "timeout client 10s",
            "timeout http-request 5s",
            ".if feature(PROMEX)",
            "http-request use-service prometheus-exporter if { path /metrics }",
            ".endif",
            "http-request deny deny_status 404 unless { path / } || { path_beg /; }",
            "stats enable",
            "stats uri /",
            "stats refresh 2s",
            // Without it the addresses of the servers are left out.
            "stats show-legends",
        ],
    });
}

/** HAProxy and the reconciler as a part of a balancer's role; who writes the backend list is another. */
export function haproxyBalancer(args: HaproxyBalancerArgs, layout: Layout): Role {
    const paths = balancerPaths(layout);
    const settings: ReconcilerSettings = {
        list: paths.list,
        socket: paths.socket,
        backend: BACKEND,
        frontend: FRONTEND,
        memory: paths.memory,
        status: paths.status,
        drainTimeout: args.drainSeconds * 1000,
        stopTimeout: STOP_SECONDS * 1000,
        fullHealth: checkCounts.rise + checkCounts.fall - 1,
        maxConnections: args.maxConnections,
    };
    const reconciler = [`${layout.bin}/node`, paths.reconciler, "--config", paths.reconcilerConfig];
    return {
        name: "haproxy-balancer",
        files: [
            { path: paths.config, content: balancerConfig(args, layout) },
            { path: paths.reconcilerConfig, content: `${JSON.stringify(settings, undefined, 2)}\n` },
        ],
        services: [
            {
                name: "haproxy",
                description: "Balancer",
                argv: haproxyArgv(layout, paths.config),
                user: haproxyUser,
                ready: { kind: "http", url: `${balancerStatusUrl(layout)}/;csv`, status: 200 },
                beforeStop: [[...reconciler, "--stop-balancer"]],
                stopTimeoutSeconds: STOP_SECONDS + 2,
            },
            {
                name: "reconciler",
                description: "Keeps the balancer's slots as the backend list says",
                argv: reconciler,
                // The runtime API's socket is HAProxy's.
                user: haproxyUser,
                after: ["haproxy"],
                ready: { kind: "file", path: paths.status },
            },
        ],
        binaries: [
            haproxyBinary(args.haproxyVersion),
            { name: "node", source: { kind: "node" } },
            { name: "reconciler.cjs", source: { kind: "bundle", ...args.reconcilerBundle } },
        ],
        users: [haproxyUser],
        ports: [
            { name: "balancer", port: args.port, protocol: "tcp", reach: "clients" },
            { name: "balancer-status", port: balancerStatusPort, protocol: "tcp", reach: "deployment" },
        ],
        healthChecks: [{ name: "balancer", probe: { kind: "tcp", host: layout.address, port: args.port } }],
    };
}
