import { type DrainSettings, GONE } from "../programs/drain/main";
import { type Binary, type Layout, type Service, secretRef } from "../programs/machine";
import { consulApi } from "./consul";
import { registrationId } from "./consulAgent";
import { gatewayHealthService } from "./gatewayHealth";
import { nodeBinary } from "./node";
import type { Role } from "./role";
import { serfRpc } from "./serf";

/** The system user that the gateway runs as. */
export const gatewayUser = "gateway";

/** The gateway itself: any server that listens on a TCP port. */
export interface GatewayArgs {
    /** Its name in the catalog. */
    readonly name: string;
    readonly port: number;
    /** Command line for the machine. */
    readonly argv: (layout: Layout) => readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    /** What the command line needs in the machine's `bin`. */
    readonly binaries: readonly Binary[];
    /** Seconds between SIGTERM and SIGKILL; also the longest time that draining waits for connections to end. */
    readonly stopTimeoutSeconds: number;
    /**
     * Whether the server drains by itself on SIGTERM: it fails its health checks and closes each connection between two
     * calls. It then gets SIGTERM as soon as the registry knows. Any other server gets SIGTERM only once its
     * connections have ended; connections that clients keep open end when the balancer cuts them. Default false.
     */
    readonly drainsItself?: boolean;
    /** The bundled program `programs/drain.ts`. */
    readonly drainBundle: { readonly file: string; readonly sha256: string };
    /** How the balancers find the gateway: its registration in Consul, or the machine's membership in Serf. */
    readonly registry:
        | {
              readonly kind: "consul";
              /** The secret that holds the token with which the gateway is registered. */
              readonly token: string;
              /**
               * Whether it is deregistered as soon as its process ends by itself, and not only when Consul's check
               * fails. This is for balancers without health checks of their own. The gateway then takes longer to
               * return. Default false.
               */
              readonly goesAtOnce?: boolean;
          }
        | { readonly kind: "serf" };
}

/** A gateway that drains before it stops. Its registration or membership and its health endpoint are separate parts. */
export function gateway(args: GatewayArgs, layout: Layout): Role {
    const drainPath = `${layout.etc}/drain.json`;
    const drain: DrainSettings = {
        ...(args.registry.kind === "consul"
            ? {
                  api: `http://${consulApi(layout)}`,
                  serviceId: registrationId(args.name, layout),
                  token: secretRef(args.registry.token),
              }
            : { serf: serfRpc(layout) }),
        port: args.port,
        address: layout.address,
        timeout: args.drainsItself ? 0 : args.stopTimeoutSeconds * 1000,
    };
    const leave = [`${layout.bin}/node`, `${layout.bin}/drain.cjs`, drainPath];
    const atOnce = args.registry.kind === "consul" && args.registry.goesAtOnce;
    const service: Service = {
        name: "gateway",
        description: `The gateway ${args.name}`,
        argv: args.argv(layout),
        environment: args.environment,
        user: gatewayUser,
        // Stops first, while the agent through which it deregisters still runs, and the endpoint that tells the balancers that it
        // drains. Without an answer they would cut its connections.
        after: [args.registry.kind, gatewayHealthService],
        ready: { kind: "tcp", host: layout.address, port: args.port },
        beforeStop: [leave],
        ...(atOnce ? { afterStop: [[...leave, GONE]] } : {}),
        stopTimeoutSeconds: args.stopTimeoutSeconds,
        // Draining deregistered or tagged it. The agent restores what its configuration says.
        reloads: [args.registry.kind],
    };
    return {
        name: "gateway",
        files: [{ path: drainPath, content: `${JSON.stringify(drain, undefined, 2)}\n`, owner: gatewayUser }],
        services: [service],
        binaries: [
            nodeBinary,
            { name: "drain.cjs", source: { kind: "bundle", ...args.drainBundle } },
            ...args.binaries,
        ],
        users: [gatewayUser],
        ports: [{ name: "gateway", port: args.port, protocol: "tcp", reach: "deployment" }],
        healthChecks: [],
    };
}
