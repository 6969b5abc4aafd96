/** A Thrift server over TCP that can be taken out of service without a failed call. */

import { type AddressInfo, createServer } from "node:net";
import { pino } from "pino";
import { MultiplexedProcessor } from "thrift";
import { MAX_MESSAGE_BYTES } from "../wire/message";
import { type Processor, ServerConnection } from "./connection";
import { sampleServices } from "./services";

/** How {@link startServer} serves. */
export interface ServerOptions {
    /** The server's name, given by the sample's `ping` and in its logs. Default `gateway`. */
    readonly name?: string;
    /** Address to listen on. Default 127.0.0.1. */
    readonly host?: string;
    /** Port to listen on; 0 takes any free one. Default 9190. */
    readonly port?: number;
    /** Whether each message has its length in front (TFramedTransport). Default false. */
    readonly framed?: boolean;
    /** Whether calls name their service, `Service:method`. Default false: only the first of the services is served. */
    readonly multiplexed?: boolean;
    /** The services by name; the first has the health check. Default the sample's `GatewayApi` and `Admin`. */
    readonly services?: Readonly<Record<string, Processor>>;
    /** The method of the first service that answers health checks, with an exception while draining. Default `ping`. */
    readonly healthMethod?: string;
    /** More connections than this are closed as they come. Default 1000. */
    readonly maxConnections?: number;
    /** A larger message closes its connection. Default 16 MiB. */
    readonly maxMessageBytes?: number;
    /** A connection that carries nothing for so long is closed. Default 3600, as long as the balancer keeps one. */
    readonly idleSeconds?: number;
    readonly drain?: DrainOptions;
    /** Where to log. Default: nowhere. */
    readonly log?: pino.Logger;
}

/** How a server leaves. */
export interface DrainOptions {
    /** The longest that draining takes; calls that are not answered by then are cut off. Default 8 s. */
    readonly seconds?: number;
    /**
     * The server goes on accepting until nothing but health checks came for so long. It has to be longer than a
     * balancer takes to notice. Default 1 s.
     */
    readonly quietSeconds?: number;
    /** A connection idle for so long is closed while draining; a client in use gets the end with a reply. Default 2 s. */
    readonly idleSeconds?: number;
}

/** How a server left. */
export interface DrainResult {
    /** Calls that were cut off, unanswered: 0 unless the deadline passed. */
    readonly callsCut: number;
    readonly milliseconds: number;
}

/** A server that serves. */
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
     * Leaves: health checks fail from now on, while calls are served as before, but each connection ends with its
     * next reply; once nobody comes any more (or the deadline has passed) the server is closed. Idempotent.
     */
    drain(): Promise<DrainResult>;
    /** Closes everything at once; calls in flight are cut off. Idempotent. */
    close(): Promise<void>;
}

/** How often a draining server looks whether it is done, in milliseconds. */
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
            // Clients and health checks reset connections all the time; what is not Thrift is worth a look.
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
        // Many connections may come between two turns of the event loop; the kernel caps this by net.core.somaxconn.
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
        // Whoever is still coming then is turned away, so that what was accepted can be answered by the deadline.
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
