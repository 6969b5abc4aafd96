/** One connection to a server, for one call at a time. */

import { connect, type Socket } from "node:net";
import { isLast } from "../wire/lastReply";
import { type Message, MessageReader, type ReaderOptions } from "../wire/message";
import type { Address } from "./address";
import { BadReply, ConnectFailed, ConnectionLost, TryTimedOut } from "./errors";

/** Options of a {@link Connection}. */
export interface ConnectionOptions extends ReaderOptions {
    /** How long to keep the connection unused. Default: forever. */
    readonly idleMs?: number;
}

interface Waiting {
    readonly resolve: (reply: Message) => void;
    readonly reject: (error: Error) => void;
    readonly timer: NodeJS.Timeout;
}

/** A connection to one address. */
export class Connection {
    readonly #socket: Socket;
    readonly #reader: MessageReader;
    #waiting: Waiting | undefined;
    #gone: Error | undefined;
    #settled: Promise<void> = Promise.resolve();
    /** Called once, when the connection has ended. `byServer` is true when the server ended it while it was idle. */
    onGone: (byServer: boolean) => void = () => {};

    private constructor(socket: Socket, options: ConnectionOptions) {
        this.#socket = socket;
        this.#reader = new MessageReader(options);
        socket.on("data", (chunk) => this.#receive(chunk));
        // The end of the stream comes before the socket is closed.
        socket.on("end", () => this.#end(new ConnectionLost("the server ended the connection"), true));
        socket.on("error", (error) => this.#end(new ConnectionLost(`the connection broke: ${error.message}`), true));
        socket.on("close", () => this.#end(new ConnectionLost("the connection was closed"), true));
        if (options.idleMs !== undefined) socket.setTimeout(options.idleMs);
        socket.on("timeout", () => this.#waiting ?? this.close());
    }

    /**
     * Connects.
     *
     * @param timeoutMs the longest that it may take
     * @throws ConnectFailed
     */
    static open(address: Address, timeoutMs: number, options: ConnectionOptions): Promise<Connection> {
        return new Promise((resolve, reject) => {
            const socket = connect({
                host: address.host,
                port: address.port,
                noDelay: true,
                keepAlive: true,
                keepAliveInitialDelay: 10_000,
            });
            const fail = (reason: string) => {
                clearTimeout(timer);
                socket.destroy();
                reject(new ConnectFailed(reason));
            };
            const timer = setTimeout(() => fail(`no connection within ${Math.ceil(timeoutMs)} ms`), timeoutMs);
            const onError = (error: NodeJS.ErrnoException) => fail(`cannot connect: ${error.code ?? error.message}`);
            socket.once("error", onError);
            socket.once("connect", () => {
                clearTimeout(timer);
                socket.off("error", onError);
                resolve(new Connection(socket, options));
            });
        });
    }

    /** Whether the connection can carry a call, to this client's knowledge. */
    get usable(): boolean {
        return this.#gone === undefined && this.#waiting === undefined;
    }

    /**
     * Resolves when the client has seen an end of the stream that came with the last reply. Wait for it before
     * {@link exchange} on a used connection, because a call sent after the end is lost. (The sample's server also marks
     * its last reply; other servers do not.)
     */
    get settled(): Promise<void> {
        return this.#settled;
    }

    /**
     * Sends a call and waits for the next message.
     *
     * @param request the bytes to send
     * @param timeoutMs the longest wait; afterwards the connection is closed
     * @throws ConnectionLost, TryTimedOut or BadReply, each of which ends the connection; the server may have executed
     *     the call
     */
    exchange(request: Buffer, timeoutMs: number): Promise<Message> {
        return new Promise((resolve, reject) => {
            if (this.#gone !== undefined) return reject(this.#gone);
            if (this.#waiting !== undefined) return reject(new Error("a connection carries one call at a time"));
            const timer = setTimeout(
                () => this.#end(new TryTimedOut(`no answer within ${Math.ceil(timeoutMs)} ms`), false),
                timeoutMs,
            );
            this.#waiting = { resolve, reject, timer };
            this.#socket.write(request);
        });
    }

    /**
     * Sends a oneway call.
     *
     * @throws ConnectionLost when the operating system does not accept it
     */
    send(request: Buffer): Promise<void> {
        return new Promise((resolve, reject) => {
            if (this.#gone !== undefined) return reject(this.#gone);
            this.#socket.write(request, (error) =>
                error ? reject(new ConnectionLost(`the connection broke: ${error.message}`)) : resolve(),
            );
        });
    }

    /** Closes the connection. A call in flight fails with ConnectionLost. Idempotent. */
    close(): void {
        this.#end(new ConnectionLost("the connection was closed"), false);
    }

    #receive(chunk: Buffer): void {
        if (this.#gone !== undefined) return;
        this.#reader.push(chunk);
        try {
            const reply = this.#reader.next();
            if (reply === undefined) return;
            const waiting = this.#waiting;
            if (waiting === undefined || this.#reader.buffered > 0) {
                throw new Error("the server sent unexpected data");
            }
            this.#waiting = undefined;
            clearTimeout(waiting.timer);
            // Node reports the end of the stream in the next turn of the event loop at the earliest.
            this.#settled = new Promise((resolve) => setImmediate(setImmediate, resolve));
            waiting.resolve(reply);
            if (isLast(reply.bytes)) this.#end(new ConnectionLost("the server is leaving"), true);
        } catch (error) {
            this.#end(new BadReply((error as Error).message), false);
        }
    }

    #end(reason: Error, byServer: boolean): void {
        if (this.#gone !== undefined) return;
        this.#gone = reason;
        this.#socket.destroy();
        const waiting = this.#waiting;
        this.#waiting = undefined;
        if (waiting !== undefined) {
            clearTimeout(waiting.timer);
            waiting.reject(reason);
        }
        this.onGone(byServer && waiting === undefined);
    }
}
