import { type Layout, secretRef } from "../programs/machine";
import { agentFiles, agentRole, agentSettings, type ConsulCluster, consulPaths, consulPorts } from "./consul";
import type { Role } from "./role";

/** A service that an agent registers for its machine. */
export interface Registration {
    /** The service's name in the catalog. */
    readonly name: string;
    readonly port: number;
    /** URL of the machine's health endpoint: status 200 is healthy, any other is not. */
    readonly healthUrl: string;
    /** The secret that holds the token with which the service is registered. */
    readonly token: string;
    /** Tags for those who look it up. Default none. */
    readonly tags?: readonly string[];
    /**
     * Further failures in a row after the first before the service is critical. Default 1: where balancers run their
     * own checks, those are the fast path, and the catalog can afford one more second.
     */
    readonly failuresBeforeCritical?: number;
}

/** What a client agent needs beyond what every agent knows. */
export interface ConsulAgentArgs {
    readonly cluster: ConsulCluster;
    /** The secret that holds the agent's own token. */
    readonly agentToken: string;
    /**
     * Name of the secret that holds the token for requests on this machine that carry none. Default none: such requests
     * are denied.
     */
    readonly defaultToken?: string;
    readonly registration?: Registration;
}

/** The id under which a machine registers the service `name`. */
export function registrationId(name: string, layout: Layout): string {
    return `${name}-${layout.machine}`;
}

/** A Consul client agent: it makes the machine a member and, if asked, registers its service. */
export function consulAgent(args: ConsulAgentArgs, layout: Layout): Role {
    const { cluster, registration } = args;
    const paths = consulPaths(layout);
    const common = agentSettings(cluster, layout, args.agentToken);
    const { acl } = common;
    const tokens = { ...acl.tokens, ...(args.defaultToken ? { default: secretRef(args.defaultToken) } : {}) };
    const settings = {
        ...common,
        acl: { ...acl, tokens },
        server: false,
        // A restart of the agent must not take a healthy gateway out of service. Draining deregisters it explicitly.
        leave_on_terminate: false,
        // Clients get their certificate from the servers.
        auto_encrypt: { tls: true },
        tls: {
            defaults: { ca_file: paths.ca, verify_outgoing: true },
            internal_rpc: { verify_server_hostname: true },
        },
        ...(registration ? { services: [serviceDefinition(registration, layout)] } : {}),
    };
    return {
        ...agentRole("consul-agent", cluster, layout),
        files: agentFiles(cluster, layout, settings),
        ports: [
            { name: "consul-gossip", port: consulPorts.gossip, protocol: "both", reach: "deployment" },
            { name: "consul-http", port: consulPorts.http, protocol: "tcp", reach: "machine" },
        ],
        healthChecks: [],
    };
}

function serviceDefinition(registration: Registration, layout: Layout) {
    return {
        id: registrationId(registration.name, layout),
        name: registration.name,
        address: layout.address,
        port: registration.port,
        ...(registration.tags ? { tags: registration.tags } : {}),
        meta: { machine: layout.machine },
        token: secretRef(registration.token),
        check: {
            name: "gateway answers",
            http: registration.healthUrl,
            interval: "1s",
            timeout: "500ms",
            // One pass is enough: the endpoint says so only after a real call. Each further one takes a second (the interval's
            // minimum) of every new machine's time, and the balancers check for themselves.
            success_before_passing: 1,
            failures_before_critical: registration.failuresBeforeCritical ?? 1,
            // No `deregister_critical_service_after`: the agent would remove a gateway that was ill for long, and not register it
            // again before it reloads, however well the gateway is by then.
        },
    };
}
