import { consulApi } from "./consul";
import { registrationId } from "./consulAgent";
import { type DrainSettings, GONE } from "./programs/drain";
import { type Binary, type Layout, type Role, type Service, secretRef } from "./role";
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
     * Whether it drains by itself when it is told to stop: it fails its health checks, and ends each connection between two
     * calls. Then it is told so as soon as the registry knows; otherwise not before its connections have ended, which those
     * that clients keep do only when the balancer cuts them. Default false.
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
               * Whether it is deregistered as soon as its process has ended by itself, and not only when Consul's check
               * fails: for balancers that have no checks of their own. It takes longer to be back then. Default false.
               */
              readonly goesAtOnce?: boolean;
          }
        | { readonly kind: "serf" };
}

/** A gateway, drained before it is stopped. Its registration or membership and its health endpoint are parts of their own. */
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
        // Stops first, so that the agent through which it takes its leave is still there.
        after: [args.registry.kind],
        ready: { kind: "tcp", host: layout.address, port: args.port },
        beforeStop: [leave],
        ...(atOnce ? { afterStop: [[...leave, GONE]] } : {}),
        stopTimeoutSeconds: args.stopTimeoutSeconds,
        // Draining deregistered it, or tagged it; the agent says again what its configuration says.
        reloads: [args.registry.kind],
    };
    return {
        name: "gateway",
        files: [{ path: drainPath, content: `${JSON.stringify(drain, undefined, 2)}\n`, owner: gatewayUser }],
        services: [service],
        binaries: [
            { name: "node", source: { kind: "node" } },
            { name: "drain.cjs", source: { kind: "bundle", ...args.drainBundle } },
            ...args.binaries,
        ],
        users: [gatewayUser],
        ports: [{ name: "gateway", port: args.port, protocol: "tcp", reach: "deployment" }],
        healthChecks: [],
    };
}
