/**
 * A gateway machine's health endpoint: HAProxy checks the gateway as its configuration says, and answers HTTP requests with the
 * result. The balancers, Consul's HTTP check and clouds' health checks use it. So each gateway is judged by the check that it was
 * deployed with, also while a change of the check is under way, and none of them has to speak Thrift.
 */

import { endpoint } from "../lib/endpoint";
import type { Layout } from "../programs/machine";
import { connectTimeout, haproxyArgv, haproxyBinary, haproxyFile, haproxyUser } from "./haproxy";
import { type CheckPace, type CheckSettings, checkPace, type HealthCheck, haproxyCheck } from "./healthCheck";
import type { Role } from "./role";

/** The port of the endpoint. */
export const gatewayHealthPort = 9191;

/** The name of the endpoint's service on the machine. */
export const gatewayHealthService = "gateway-health";

/** Arguments of {@link gatewayHealth}. */
export interface GatewayHealthArgs {
    /** The gateway on this machine. */
    readonly service: {
        readonly port: number;
        readonly healthCheck: HealthCheck;
        /** Default: the preset `fast`. */
        readonly checks?: CheckSettings;
    };
    /** Lowest version of the tool `haproxy` that will do. */
    readonly haproxyVersion: string;
}

const PATH = "/health";

/** URL of the endpoint: 200 if the gateway takes new connections, 404 if it drains, 503 if it is broken. */
export function healthUrl(layout: Pick<Layout, "address">): string {
    return `http://${endpoint(layout.address, gatewayHealthPort)}${PATH}`;
}

/**
 * HAProxy's directives for a section whose servers are gateways, to check them by their endpoints. 404 means to HAProxy: no new
 * connections, but existing ones go on (state NOLB).
 */
export const endpointCheck: readonly string[] = [
    "option httpchk",
    `http-check connect port ${gatewayHealthPort} linger`,
    `http-check send meth GET uri ${PATH} ver HTTP/1.1 hdr Host gateway hdr Connection close`,
    "http-check expect status 200",
    "http-check disable-on-404",
];

/** One pass is enough to recover: balancers, Consul and clouds want several passes anyhow. */
const timing = ({ every, again, failures }: CheckPace) =>
    `check inter ${every}ms fastinter ${again}ms fall ${failures} rise 1`;

/**
 * Connections at a time, and below how long each may take for its request. Whoever opens idle connections must not make Consul
 * find the gateway ill.
 */
const CONNECTIONS = 1_000;

/** The backend's number, given so that the state file can name it. */
const BACKEND_ID = 1000;

/** What the endpoint answers, in the order of its decision. A server that drains is up and may get no new connection. */
const answers = [
    { status: 200, text: "healthy", when: "nbsrv(gateway) gt 0" },
    { status: 404, text: "draining", when: "srv_is_up(gateway/gateway)" },
    { status: 503, text: "unhealthy", when: undefined },
] as const;

/** The endpoint's configuration. */
function config({ service }: GatewayHealthArgs, layout: Layout, stateFile: string): string {
    const pace = checkPace(service.checks);
    return haproxyFile({
        global: [`maxconn ${CONNECTIONS}`, "nbthread 1", `server-state-file ${stateFile}`],
        defaults: [
            connectTimeout,
            `timeout check ${pace.timeout}ms`,
            "timeout client 5s",
            "timeout server 5s",
            "timeout http-request 1s",
        ],
        "frontend health": [
            "mode http",
            `bind ${endpoint(layout.address, gatewayHealthPort)}`,
            `http-request deny unless { path ${PATH} }`,
            ...answers.map(
                ({ status, text, when }) =>
                    `http-request return status ${status} content-type text/plain string "${text}"${when ? ` if { ${when} }` : ""}`,
            ),
        ],
        "backend gateway": [
            `id ${BACKEND_ID}`,
            "mode tcp",
            // Says what the server answered whenever the result changes.
            "option log-health-checks",
            "load-server-state-from-file global",
            ...haproxyCheck(service.healthCheck),
            `server gateway ${endpoint(layout.address, service.port)} ${timing(pace)}`,
        ],
    });
}

/**
 * HAProxy's state at its start, in the form of `show servers state`: the gateway is down until checks have passed.
 * Without it HAProxy takes a server for healthy until the first check, and the endpoint would say so.
 */
function initialState({ service }: GatewayHealthArgs): string {
    const fields = {
        be_id: BACKEND_ID,
        be_name: "gateway",
        srv_id: 1,
        srv_name: "gateway",
        srv_addr: "-",
        srv_op_state: 0, // down
        srv_admin_state: 0, // nobody has put it into maintenance
        srv_uweight: 1,
        srv_iweight: 1,
        srv_time_since_last_change: 0,
        srv_check_status: 1, // not checked yet
        srv_check_result: 0,
        srv_check_health: 0,
        srv_check_state: 6, // configured and enabled
        srv_agent_state: 0,
        bk_f_forced_id: 1,
        srv_f_forced_id: 0,
        srv_fqdn: "-",
        srv_port: service.port,
        srvrecord: "-",
        srv_use_ssl: 0,
        srv_check_port: 0,
        srv_check_addr: "-",
        srv_agent_addr: "-",
        srv_agent_port: 0,
    };
    return ["1", `# ${Object.keys(fields).join(" ")}`, Object.values(fields).join(" "), ""].join("\n");
}

/** The endpoint as a part of a gateway machine's role. */
export function gatewayHealth(args: GatewayHealthArgs, layout: Layout): Role {
    const configPath = `${layout.etc}/gateway-health/haproxy.cfg`;
    const statePath = `${layout.etc}/gateway-health/initial-state`;
    return {
        name: "gateway-health",
        files: [
            { path: configPath, content: config(args, layout, statePath) },
            { path: statePath, content: initialState(args) },
        ],
        services: [
            {
                name: gatewayHealthService,
                description: "Health endpoint of the gateway",
                argv: haproxyArgv(layout, configPath),
                user: haproxyUser,
                // It answers; whether it answers 200 is up to the gateway.
                ready: { kind: "tcp", host: layout.address, port: gatewayHealthPort },
            },
        ],
        binaries: [haproxyBinary(args.haproxyVersion)],
        users: [haproxyUser],
        ports: [{ name: "gateway-health", port: gatewayHealthPort, protocol: "tcp", reach: "deployment" }],
        healthChecks: [{ name: "gateway", probe: { kind: "http", url: healthUrl(layout), status: 200 } }],
    };
}
