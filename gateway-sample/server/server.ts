/** A Thrift server over TCP that can leave service without a failed call. */

import { type AddressInfo, createServer } from "node:net";
import { pino } from "pino";
import { MultiplexedProcessor } from "thrift";
import { MAX_MESSAGE_BYTES } from "../wire/message";
import { type Processor, ServerConnection } from "./connection";
import { sampleServices } from "./services";

/** Options of {@link startServer}. */
export interface ServerOptions {
    /** Name of the server, which the sample's `ping` returns. Default `gateway`. */
    readonly name?: string;
    /** Address to listen on. Default 127.0.0.1. */
    readonly host?: string;
    /** Port to listen on; 0 for any free port. Default 9190. */
    readonly port?: number;
    /** Whether messages are framed (TFramedTransport). Default false. */
    readonly framed?: boolean;
    /** Whether calls name their service, `Service:method`. Default false: the server offers only the first service. */
    readonly multiplexed?: boolean;
    /** The services by name. The first one has the health check. Default: the sample's `GatewayApi` and `Admin`. */
    readonly services?: Readonly<Record<string, Processor>>;
    /** The health check: a method of the first service. It answers with an exception while draining. Default `ping`. */
    readonly healthMethod?: string;
    /** The server closes new connections above this number. Default 1000. */
    readonly maxConnections?: number;
    /** The server closes a connection with a larger message. Default 16 MiB. */
    readonly maxMessageBytes?: number;
    /** The server closes a connection after this time without data. Default 3600, as on the balancers. */
    readonly idleSeconds?: number;
    readonly drain?: DrainOptions;
    /** Default: no log. */
    readonly log?: pino.Logger;
}

/** How a server drains. */
export interface DrainOptions {
    /** The longest that draining takes. It cuts off calls that are still unanswered. Default 8. */
    readonly seconds?: number;
    /**
     * The server accepts until only health checks came for this time, which must be longer than a balancer needs to notice
     * the drain. Default 1.
     */
    readonly quietSeconds?: number;
    /**
     * While draining, the server closes connections that are idle for this time. Others end with a reply. Default 2.
     */
    readonly idleSeconds?: number;
}

/** Result of a drain. */
export interface DrainResult {
    /** Unanswered calls that were cut off; 0 unless the deadline passed. */
    readonly callsCut: number;
    readonly milliseconds: number;
}

/** A running server. */
export interface RunningServer {
    readonly host: string;
    /** The port it listens on. */
    readonly port: number;
    /** `host:port`. */
    readonly address: string;
    readonly state: "serving" | "draining" | "closed";
    /** Open connections. */
    readonly connections: number;
    /**
     * Takes the server out of service. Health checks fail from now on. The server still answers calls, but ends each
     * connection with its next reply. It closes when no more calls come, or at the deadline. Idempotent.
     */
    drain(): Promise<DrainResult>;
    /** Closes everything at once and cuts off calls in flight. Idempotent. */
    close(): Promise<void>;
}

/** Interval between the checks of a draining server, milliseconds. */
const DRAIN_STEP_MS = 25;

/**
 * Starts a server.
 *
 * @throws Error of `node:net`, for instance with code `EADDRINUSE`, when it cannot listen.
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
    const log = options.log ?? pino({ level: "silent" });
    const connections = new Set<ServerConnection>();
    let state: RunningServer["state"] = "serving";
    let callsAnswered = 0;
    let callsCut = 0;
    let lastWork = 0;

    const services =
        options.services ??
        sampleServices({
            name: options.name ?? "gateway",
            log,
            status: () => ({ state, connections: connections.size, callsAnswered }),
        });
    const [serviceName, service] = Object.entries(services)[0] ?? [];
    if (serviceName === undefined || service === undefined) throw new Error("a server needs at least one service");
    const healthMethod = options.healthMethod ?? "ping";
    const healthCheck = options.multiplexed ? `${serviceName}:${healthMethod}` : healthMethod;

    const host = {
        framed: options.framed ?? false,
        maxBytes: options.maxMessageBytes ?? MAX_MESSAGE_BYTES,
        processor: options.multiplexed ? multiplex(services) : service,
        get draining() {
            return state === "draining";
        },
        isHealthCheck: (name: string) => name === healthCheck,
        onWork: () => {
            lastWork = performance.now();
        },
        onAnswered: () => {
            callsAnswered += 1;
        },
        onGone: (connection: ServerConnection, reason?: Error) => {
            connections.delete(connection);
            if (reason === undefined) return;
            // Connection errors are usual: clients and health checks reset connections. A message that is not Thrift is
            // not.
            const level = "code" in reason ? "debug" : "warn";
            log[level]({ reason: reason.message }, "connection closed");
        },
    };

    const listener = createServer(
        { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 },
        (socket) => {
            socket.setTimeout((options.idleSeconds ?? 3600) * 1000);
            connections.add(new ServerConnection(socket, host));
        },
    );
    listener.maxConnections = options.maxConnections ?? 1000;
    listener.on("drop", () => log.warn({ maxConnections: listener.maxConnections }, "too many connections"));
    await new Promise<void>((resolve, reject) => {
        listener.once("error", reject);
        // Many connections may arrive between two turns of the event loop. The kernel caps this at net.core.somaxconn.
        listener.listen({ host: options.host ?? "127.0.0.1", port: options.port ?? 9190, backlog: 1024 }, resolve);
    });
    listener.on("error", (error) => log.error({ reason: error.message }, "cannot accept"));
    const { address, port } = listener.address() as AddressInfo;
    log.info({ address, port, framed: host.framed, multiplexed: options.multiplexed ?? false }, "serving");

    const closed = new Promise<void>((resolve) => listener.once("close", resolve));
    let leaving: Promise<DrainResult> | undefined;

    async function close(): Promise<void> {
        if (state !== "closed") {
            state = "closed";
            listener.close();
            for (const connection of connections) {
                if (connection.busy) callsCut += 1;
                connection.destroy();
            }
        }
        await closed;
    }

    async function drain(): Promise<DrainResult> {
        const { seconds = 8, quietSeconds = 1, idleSeconds = 2 } = options.drain ?? {};
        const started = performance.now();
        state = "draining";
        lastWork = started;
        log.info({ connections: connections.size, seconds }, "draining");
        const deadline = started + seconds * 1000;
        // Stop accepting a little earlier, to answer the accepted calls by the deadline.
        const lastCall = deadline - Math.min(1000, seconds * 250);
        let lastCalled = false;
        const inUse = () => [...connections].filter((connection) => connection.busy || !connection.isHealthCheck);
        while (state === "draining" && performance.now() < deadline) {
            const now = performance.now();
            for (const connection of connections) {
                if (connection.idleMs >= (lastCalled ? DRAIN_STEP_MS : idleSeconds * 1000)) connection.destroy();
            }
            if (!lastCalled && (now >= lastCall || (inUse().length === 0 && now - lastWork >= quietSeconds * 1000))) {
                lastCalled = true;
                listener.close();
                log.info({ connections: connections.size }, "no longer accepting");
            } else if (lastCalled && inUse().length === 0) {
                break;
            }
            await new Promise((resolve) => setTimeout(resolve, DRAIN_STEP_MS));
        }
        await close();
        const result = { callsCut, milliseconds: Math.round(performance.now() - started) };
        log[callsCut > 0 ? "warn" : "info"](result, "drained");
        return result;
    }

    return {
        host: address,
        port,
        address: address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
        get state() {
            return state;
        },
        get connections() {
            return connections.size;
        },
        drain: () => {
            if (state !== "closed") leaving ??= drain();
            return leaving ?? Promise.resolve({ callsCut: 0, milliseconds: 0 });
        },
        close,
    };
}

function multiplex(services: Readonly<Record<string, Processor>>): Processor {
    const processor = new MultiplexedProcessor() as MultiplexedProcessor & {
        registerProcessor(name: string, processor: Processor): void;
    };
    for (const [name, service] of Object.entries(services)) processor.registerProcessor(name, service);
    return processor;
}
