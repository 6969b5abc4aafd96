/** One connection to a server, for one call at a time. */

import { connect, type Socket } from "node:net";
import { isLast } from "../wire/lastReply";
import { type Message, MessageReader, type ReaderOptions } from "../wire/message";
import type { Address } from "./address";
import { BadReply, ConnectFailed, ConnectionLost, TryTimedOut } from "./errors";

/** How a connection is made and kept. */
export interface ConnectionOptions extends ReaderOptions {
    /** The connection is closed when it has not been used for so long. Default: never. */
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
    /** Called once, when the connection has ended, by whom ever; true when the server ended it while it was idle. */
    onGone: (byServer: boolean) => void = () => {};

    private constructor(socket: Socket, options: ConnectionOptions) {
        this.#socket = socket;
        this.#reader = new MessageReader(options);
        socket.on("data", (chunk) => this.#receive(chunk));
        // The server's end is seen here before the socket is closed.
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

    /** Whether a call can be made, as far as is known. */
    get usable(): boolean {
        return this.#gone === undefined && this.#waiting === undefined;
    }

    /**
     * Resolves when an end of the connection that came together with the last reply has been noticed. Wait for it
     * before {@link exchange} on a connection that has been used: a call sent after the end is lost. (The sample's
     * server marks its last reply besides; other servers do not.)
     */
    get settled(): Promise<void> {
        return this.#settled;
    }

    /**
     * Sends a call and waits for the next message.
     *
     * @param request the call as it goes onto the wire
     * @param timeoutMs the longest that it may take; then the connection is closed
     * @throws ConnectionLost, TryTimedOut or BadReply, each of which ends the connection; what was sent may have
     *     been carried out
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
     * Sends a call that has no answer.
     *
     * @throws ConnectionLost when it could not be handed to the operating system
     */
    send(request: Buffer): Promise<void> {
        return new Promise((resolve, reject) => {
            if (this.#gone !== undefined) return reject(this.#gone);
            this.#socket.write(request, (error) =>
                error ? reject(new ConnectionLost(`the connection broke: ${error.message}`)) : resolve(),
            );
        });
    }

    /** Closes the connection; a call in flight fails with ConnectionLost. Idempotent. */
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
                throw new Error("the server sent something that was not asked for");
            }
            this.#waiting = undefined;
            clearTimeout(waiting.timer);
            // The end of the stream is reported in the next turn of the event loop at the earliest.
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
