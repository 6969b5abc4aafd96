/** A client's connection to the server. */

import type { Socket } from "node:net";
import { Thrift, type TProtocol } from "thrift";
import { markLast } from "../wire/lastReply";
import { MalformedMessage, type Message, MessageReader, MessageType, type ReaderOptions } from "../wire/message";
import { MessageWriter, ReplyProtocol, readingProtocol, writeException } from "../wire/protocol";

/** Answers calls: a processor that the Thrift compiler generated, or the library's multiplexed one. */
export interface Processor {
    process(input: TProtocol, output: TProtocol): void;
}

/** The server, as its connections see it. */
export interface Host extends ReaderOptions {
    readonly processor: Processor;
    /** Whether the server is draining. Then a connection ends with its next reply. */
    readonly draining: boolean;
    /** Whether a call of this name is a health check. */
    isHealthCheck(name: string): boolean;
    /** Called when a call other than a health check arrives, and when it is answered. */
    onWork(): void;
    /** Called after each answer, including health checks. */
    onAnswered(): void;
    /** Called when the connection has closed. `reason` is the client's error, if any. */
    onGone(connection: ServerConnection, reason?: Error): void;
}

/** Clients may send calls ahead of replies. Above this many buffered bytes the server pauses reading. */
const READ_AHEAD_BYTES = 64 * 1024;

/** Serves calls one at a time, in the order of their arrival, as Thrift's blocking servers do. */
export class ServerConnection {
    readonly #socket: Socket;
    readonly #host: Host;
    readonly #reader: MessageReader;
    readonly #output: ReplyProtocol;
    /** Receives the reply to the current call. */
    #onReply: (bytes: Buffer) => void = () => {};
    #busy = false;
    #serving = false;
    #ended = false;
    /** Whether the client has ever sent a call before the reply to the previous one. */
    #pipelines = false;
    /** Whether the last reply has been sent. Later data is not read. */
    #closing = false;
    #lastActive = performance.now();
    #purpose: "unknown" | "health" | "work" = "unknown";

    constructor(socket: Socket, host: Host) {
        this.#socket = socket;
        this.#host = host;
        this.#reader = new MessageReader(host);
        const writer = new MessageWriter(host.framed, (bytes) => this.#onReply(bytes));
        this.#output = new ReplyProtocol(writer);
        let reason: Error | undefined;
        socket.on("data", (chunk) => {
            this.#lastActive = performance.now();
            if (this.#busy) this.#pipelines = true;
            this.#reader.push(chunk);
            this.#serve();
        });
        socket.on("end", () => {
            this.#ended = true;
            this.#serve();
        });
        // A call may take long. A client that does not read its reply may not.
        socket.on("timeout", () => {
            if (!this.#busy || socket.writableLength > 0) socket.destroy();
        });
        socket.on("error", (error) => {
            reason = error;
        });
        socket.on("close", () => host.onGone(this, reason));
    }

    /** Whether a call is being answered. */
    get busy(): boolean {
        return this.#busy;
    }

    /** Whether the connection has carried only health checks so far. */
    get isHealthCheck(): boolean {
        return this.#purpose === "health";
    }

    /** Milliseconds since the client last sent data or got an answer; 0 while a call is being answered or received. */
    get idleMs(): number {
        return this.#busy || this.#reader.buffered > 0 ? 0 : performance.now() - this.#lastActive;
    }

    /** Closes the connection at once. Reports `error` to the host. */
    destroy(error?: Error): void {
        this.#socket.destroy(error);
    }

    #serve(): void {
        if (this.#serving) return;
        this.#serving = true;
        try {
            while (!this.#busy && !this.#closing && !this.#socket.destroyed) {
                const message = this.#reader.next();
                if (message === undefined) break;
                this.#answer(message);
            }
        } catch (error) {
            // A malformed message, or a call of an unknown service, for which the multiplexed processor throws.
            this.destroy(error instanceof Error ? error : new MalformedMessage(String(error)));
        }
        this.#serving = false;
        if (this.#ended && !this.#busy) this.#socket.end();
        const wait = this.#busy && this.#reader.buffered > READ_AHEAD_BYTES;
        if (wait) this.#socket.pause();
        else if (this.#socket.isPaused()) this.#socket.resume();
    }

    #answer(message: Message): void {
        const oneway = message.type === MessageType.oneway;
        if (message.type !== MessageType.call && !oneway) throw new MalformedMessage("a reply instead of a call");
        const health = this.#host.isHealthCheck(message.name);
        if (!health) this.#host.onWork();
        if (this.#purpose !== "work") this.#purpose = health ? "health" : "work";
        if (this.#reader.buffered > 0) this.#pipelines = true;
        const input = readingProtocol(message.bytes);
        if (oneway) {
            this.#host.processor.process(input, this.#output);
            return;
        }
        this.#busy = true;
        this.#onReply = (bytes) => {
            this.#onReply = () => {}; // ignore a second answer from the handler
            this.#reply(bytes);
            if (!health) this.#host.onWork();
            this.#host.onAnswered();
        };
        if (health && this.#host.draining) {
            const method = message.name.slice(message.name.indexOf(":") + 1);
            const call = { name: method, seqid: message.seqid };
            writeException(this.#output, call, Thrift.TApplicationExceptionType.INTERNAL_ERROR, "draining");
        } else {
            this.#host.processor.process(input, this.#output);
        }
    }

    #reply(bytes: Buffer): void {
        const socket = this.#socket;
        const ready = () => {
            this.#busy = false;
            this.#lastActive = performance.now();
            this.#serve();
        };
        if (socket.destroyed) {
            this.#busy = false;
            return;
        }
        const last = this.#host.draining && this.#reader.buffered === 0;
        const flushed = socket.write(last ? markLast(bytes, this.#host.framed) : bytes);
        if (last) {
            // For clients that ignore the mark, the end of the stream must follow the reply at once, or they may send
            // another call in between. destroy() closes in this turn of the event loop, end() in the next one. But
            // destroy() resets a connection with unread data and drops unsent data. Use end() in these cases.
            this.#busy = false;
            this.#closing = true;
            if (socket.writableLength === 0 && !this.#pipelines) socket.destroy();
            else socket.end();
        } else if (flushed) {
            ready();
        } else {
            // The client reads more slowly than it calls. Serve the next call after it has taken this reply.
            socket.once("drain", ready);
        }
    }
}
