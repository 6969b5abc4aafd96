/** HAProxy as a balancer with slots, and the reconciler that fills them: common to all stacks with HAProxy. */

import { endpoint } from "../../lib/endpoint";
import type { Layout } from "../../programs/machine";
import type { ReconcilerSettings } from "../../programs/reconciler/settings";
import { endpointCheck } from "../gatewayHealth";
import { connectTimeout, haproxyArgv, haproxyBinary, haproxyFile, haproxyProgram, haproxyUser } from "../haproxy";
import { type CheckSettings, checkPace } from "../healthCheck";
import { nodeBinary } from "../node";
import type { Role } from "../role";

/** The port of a balancer's status page. */
export const balancerStatusPort = 9192;

/** A program bundled to one file. */
export interface BundledProgram {
    readonly file: string;
    readonly sha256: string;
}

/** What every balancer with HAProxy needs to know. */
export interface HaproxyBalancerArgs {
    /** The port that clients call. */
    readonly port: number;
    /** The address at which clients call it. Default the machine's own; `0.0.0.0` where it may have others. */
    readonly listen?: string;
    /** Client connections at a time; each takes two of HAProxy's file descriptors. More wait to be accepted. Default 8,000. */
    readonly maxClients?: number;
    /** Largest number of gateways; at least 16 are made. */
    readonly slots: number;
    /** The networks of the gateways, in CIDR notation. Nothing else gets calls, whatever the registry says. */
    readonly networks: readonly string[];
    /** Connections that one gateway takes from this balancer at a time. More wait in a queue. */
    readonly maxConnections: number;
    /** How long a connection may wait in the queue, seconds. Default 1. */
    readonly queueSeconds?: number;
    /** The most connections that wait; further ones are refused at once. Default: no limit. */
    readonly maxQueue?: number;
    /** How long a connection may be idle, seconds. Default 3600. */
    readonly idleSeconds?: number;
    /** How soon a gateway is down, and what becomes of its connections. Default: the preset `fast`. */
    readonly checks?: CheckSettings;
    /** Longest time that a gateway keeps its connections after it has left, seconds. */
    readonly drainSeconds: number;
    /** The bundled program `programs/reconciler`. */
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
        state: `${layout.run}/haproxy.state`,
    };
}

const BACKEND = "gateways";
const FRONTEND = "clients";
/**
 * A slot without a gateway. After a reload the address comes from the state that was handed over, which HAProxy takes only for
 * a server with a name. Nobody looks the name up.
 */
const EMPTY = "gateway.invalid:1 disabled init-addr last,127.0.0.1";
/** The fewest slots: below this there is nothing to save. */
const FEWEST_SLOTS = 16;
/** Connections left for the status page. Without them clients could make whoever watches it find the balancer dead. */
const STATUS_CONNECTIONS = 100;
/** Health checks of the gateways' endpoints: milliseconds, and consecutive results until a server is up or down. */
interface EndpointPace {
    readonly every: number;
    readonly again: number;
    readonly timeout: number;
    readonly rise: number;
    readonly fall: number;
}

/**
 * With `fast`, a machine that hangs is down after at most 200 + 350 + 50 + 350 = 950 ms. So is a gateway that hangs, after the 675 ms
 * in which its endpoint finds it and 200 + 50 more: before clients with a deadline of one second give up and reconnect. Until
 * then the connections that hang there steer new ones away from it, because `balance` goes by their number.
 */
const ENDPOINT_PACES: Readonly<Record<NonNullable<CheckSettings["preset"]>, EndpointPace>> = {
    fast: { every: 200, again: 50, timeout: 350, rise: 2, fall: 2 },
    // For a machine that pauses as a whole, such as one that is migrated: down after at most 14 s, too.
    tolerant: { every: 1_000, again: 500, timeout: 4_000, rise: 2, fall: 3 },
};
const endpointPace = ({ preset = "fast" }: CheckSettings = {}) => ENDPOINT_PACES[preset];
/** Time that a stopping balancer leaves to calls in flight, seconds. */
const STOP_SECONDS = 5;
/** Keep-alive: a lost peer is noticed after 60 + 6 · 10 seconds, well before idle connections time out. */
const keepAlive = (side: "cli" | "srv") => [
    `option ${side}tcpka`,
    `${side}tcpka-idle 60s`,
    `${side}tcpka-intvl 10s`,
    `${side}tcpka-cnt 6`,
];

/** HAProxy's configuration as a balancer. */
export function balancerConfig(args: HaproxyBalancerArgs, layout: Layout): string {
    const paths = balancerPaths(layout);
    const { maxClients = 8_000, queueSeconds = 1, idleSeconds = 3_600, maxQueue, checks = {} } = args;
    const pace = endpointPace(checks);
    const server = [
        `check inter ${pace.every}ms fastinter ${pace.again}ms downinter 1s`,
        `fall ${pace.fall} rise ${pace.rise}`,
        // Failed client connections count as well, and show sooner than any check.
        "observe layer4 error-limit 3 on-error mark-down",
        // The reconciler cuts the sessions of a server that is down. `on-marked-down shutdown-sessions` would also end
        // sessions that this server has just refused and that HAProxy is about to send to another one, including the
        // session that marked it down.
        "tcp-ut 3s",
        // The reconciler lifts the limit during the slow start; see `programs/reconciler/planChanges.ts`.
        `slowstart 10s maxconn ${args.maxConnections}`,
    ].join(" ");
    return haproxyFile({
        global: [
            "log stdout format raw daemon notice",
            `maxconn ${maxClients + STATUS_CONNECTIONS}`,
            // With fewer file descriptors it serves fewer clients rather than none.
            "no strict-limits",
            // After a reload the old worker keeps its connections for as long.
            `hard-stop-after ${Math.max(args.drainSeconds, STOP_SECONDS)}s`,
            `stats socket unix@${paths.socket} mode 600 level admin expose-fd listeners`,
            `server-state-file ${paths.state}`,
        ],
        defaults: [
            "mode tcp",
            connectTimeout,
            `timeout check ${pace.timeout}ms`,
            `timeout queue ${queueSeconds}s`,
            `timeout client ${idleSeconds}s`,
            `timeout server ${idleSeconds}s`,
            "retries 3",
            // To another server at once, not only at the last retry.
            "option redispatch 1",
        ],
        [`frontend ${FRONTEND}`]: [
            `bind ${endpoint(args.listen ?? layout.address, args.port)}`,
            `maxconn ${maxClients}`,
            ...(maxQueue === undefined ? [] : [`tcp-request content reject if { queue(${BACKEND}) ge ${maxQueue} }`]),
            // Only failures: server changes go to standard error anyway.
            "log global",
            "option tcplog",
            "option dontlog-normal",
            "option dontlognull",
            "option log-separate-errors",
            ...keepAlive("cli"),
            `default_backend ${BACKEND}`,
        ],
        [`backend ${BACKEND}`]: [
            // Of ten random draws the server with the fewest connections. This is like `leastconn`, except that a
            // refused connection goes to another server at once and not after `timeout connect`: HAProxy waits there
            // unless the algorithm rotates.
            "balance random(10)",
            // Only during a reload there is a state to load; see `programs/reconciler/reloadBalancer.ts`.
            "load-server-state-from-file global",
            ...keepAlive("srv"),
            ...endpointCheck,
            `default-server ${server}`,
            `server-template gw 1-${Math.max(FEWEST_SLOTS, args.slots)} ${EMPTY}`,
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
            // Without it the page leaves out the servers' addresses.
            "stats show-legends",
        ],
    });
}

/** HAProxy and the reconciler as a part of a balancer's role. Another part writes the backend list. */
export function haproxyBalancer(args: HaproxyBalancerArgs, layout: Layout): Role {
    const paths = balancerPaths(layout);
    const { rise, fall } = endpointPace(args.checks);
    const settings: ReconcilerSettings = {
        list: paths.list,
        networks: args.networks,
        socket: paths.socket,
        reload: { program: haproxyProgram(layout), config: paths.config, state: paths.state },
        backend: BACKEND,
        memory: paths.memory,
        status: paths.status,
        drainTimeout: args.drainSeconds * 1000,
        stopTimeout: STOP_SECONDS * 1000,
        fullHealth: rise + fall - 1,
        ...(checkPace(args.checks).cutsSessions ? {} : { keepsSessions: true }),
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
                argv: haproxyArgv(layout, paths.config, true),
                user: haproxyUser,
                ready: { kind: "http", url: `${balancerStatusUrl(layout)}/;csv`, status: 200 },
                reload: { files: [paths.config], command: [...reconciler, "--reload-balancer"] },
                beforeStop: [[...reconciler, "--stop-balancer"]],
                stopTimeoutSeconds: STOP_SECONDS + 2,
            },
            {
                name: "reconciler",
                description: "Keeps the balancer's slots as the backend list says",
                argv: reconciler,
                // HAProxy owns the runtime API's socket.
                user: haproxyUser,
                after: ["haproxy"],
                ready: { kind: "file", path: paths.status },
            },
        ],
        binaries: [
            haproxyBinary(args.haproxyVersion),
            nodeBinary,
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
