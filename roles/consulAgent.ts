import { agentFiles, agentRole, agentSettings, type ConsulCluster, consulPaths, consulPorts } from "./consul";
import { type Layout, type Role, secretRef } from "./role";

/** A service that an agent registers for its machine. */
export interface Registration {
    /** The service's name in the catalog. */
    readonly name: string;
    readonly port: number;
    /** Where the machine says whether the service is healthy: 200 is, everything else is not. */
    readonly healthUrl: string;
    /** The secret that holds the token with which the service is registered. */
    readonly token: string;
    /** Tags for those who look it up. Default none. */
    readonly tags?: readonly string[];
    /**
     * Failures in a row before the service is critical, besides the first. Default 1: where balancers check for
     * themselves they are the fast path, and the catalog may take one more second to be sure.
     */
    readonly failuresBeforeCritical?: number;
}

/** What a client agent needs beyond what every agent knows. */
export interface ConsulAgentArgs {
    readonly cluster: ConsulCluster;
    /** The secret that holds the agent's own token. */
    readonly agentToken: string;
    /** The secret that holds the token of requests on this machine that show none. Default none: they are denied. */
    readonly defaultToken?: string;
    readonly registration?: Registration;
}

/** The id under which a machine registers the service `name`. */
export function registrationId(name: string, layout: Layout): string {
    return `${name}-${layout.machine}`;
}

/** A Consul client agent: the machine's membership and, when asked for, the registration of its service. */
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
        // The agent's restart must not take a healthy gateway out; draining deregisters it explicitly.
        leave_on_terminate: false,
        // The client's certificate comes from the servers.
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
            success_before_passing: 2,
            failures_before_critical: registration.failuresBeforeCritical ?? 1,
            deregister_critical_service_after: "10m",
        },
    };
}
