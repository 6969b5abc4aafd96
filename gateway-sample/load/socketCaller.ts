/**
 * Makes calls without the client library. It encodes the call once, writes it to sockets, and compares answers with the
 * first good one. It tries each call once, on one connection.
 */
import { connect, type Socket } from "node:net";
import type { Address } from "../client/address";
import { encodeCall } from "../client/call";
import * as GatewayApi from "../gen/GatewayApi";
import { isLast } from "../wire/lastReply";
import { type Message, MessageReader, MessageType } from "../wire/message";
import type { Call, Caller, Settle } from "./caller";

/** Options of {@link SocketCaller}. */
export interface SocketOptions {
    /** Connections go to each address in turn. */
    readonly addresses: readonly Address[];
    readonly method: "ping" | "echo";
    /** The arguments of the call. */
    readonly args: readonly string[];
    readonly framed: boolean;
    readonly serviceName?: string | undefined;
    /** `perCall` opens a connection for each call; `kept` uses a free one, or opens one, and keeps it. */
    readonly connection: "perCall" | "kept";
    /** The most kept connections in all. Above it, calls wait for a free one. */
    readonly connections: number;
}

/** The most open connections with a connection per call, as local ports are limited. Above it, calls fail. */
const MOST_OPEN = 8_000;

/** Makes raw calls. Reports each result to `settle`. */
export class SocketCaller implements Caller {
    readonly keepsDeadlines = false;
    #request: Buffer | undefined;
    /** The bytes of a good answer. All calls are equal, and so are all answers. */
    #answer: Buffer | undefined;
    #next = 0;
    #open = 0;
    #closed = false;
    readonly #encoding: Promise<void>;
    readonly #lines: Line[] = [];
    /** Free kept lines, the one that is free for the longest time first. */
    readonly #free: Line[] = [];
    /** Calls that wait for a free line, from index `#firstWaiting`, because shift() moves a long array. */
    #waiting: Call[] = [];
    #firstWaiting = 0;

    constructor(
        readonly options: SocketOptions,
        readonly settle: Settle,
    ) {
        if (options.addresses.length === 0) throw new Error("load needs an address");
        const { method, args, framed, serviceName } = options;
        this.#encoding = encodeCall(GatewayApi, method, args, { framed, serviceName }).then(({ request }) => {
            this.#request = request;
        });
    }

    begin(call: Call): void {
        if (this.#request === undefined) {
            void this.#encoding.then(() => this.begin(call));
            return;
        }
        if (this.options.connection === "kept") {
            const line = this.#free.shift() ?? this.another();
            if (line) line.send(call, this.#request);
            else this.#waiting.push(call);
        } else if (this.#open >= MOST_OPEN) {
            this.settle(call, "TooMany: too many connections are open");
        } else {
            this.#open += 1;
            new Line(this, this.address()).send(call, this.#request);
        }
    }

    /** Called by a line whose call has ended. */
    release(line: Line): void {
        if (this.options.connection === "perCall") {
            this.#open -= 1;
            line.close();
            return;
        }
        const call = this.#closed ? undefined : this.nextWaiting();
        if (call) line.send(call, this.#request as Buffer);
        else this.#free.push(line);
    }

    /** Whether these bytes are a complete good answer. Avoids parsing. */
    isAnswer(chunk: Buffer): boolean {
        return this.#answer !== undefined && chunk.length === this.#answer.length && chunk.equals(this.#answer);
    }

    /** Remembers the bytes of a good answer that came in one piece. */
    learn(bytes: Buffer): void {
        this.#answer ??= Buffer.from(bytes);
    }

    close(): void {
        this.#closed = true;
        for (const line of this.#lines) line.close();
    }

    /** The first waiting call that has not expired. */
    private nextWaiting(): Call | undefined {
        while (this.#firstWaiting < this.#waiting.length) {
            const call = this.#waiting[this.#firstWaiting++] as Call;
            if (!call.settled) return call;
        }
        this.#waiting = [];
        this.#firstWaiting = 0;
        return undefined;
    }

    /** A new kept line. Undefined at the limit. */
    private another(): Line | undefined {
        if (this.#lines.length >= this.options.connections) return undefined;
        const line = new Line(this, this.address());
        this.#lines.push(line);
        return line;
    }

    private address(): Address {
        const { addresses } = this.options;
        const address = addresses[this.#next % addresses.length] as Address;
        this.#next += 1;
        return address;
    }
}

/** A connection for one call at a time, opened on demand. */
class Line {
    #socket: Socket | undefined;
    #call: Call | undefined;
    #reader: MessageReader | undefined;

    constructor(
        private readonly caller: SocketCaller,
        private readonly address: Address,
    ) {}

    send(call: Call, request: Buffer): void {
        this.#call = call;
        call.abandon = () => this.end("no answer within the deadline");
        const socket = this.#socket ?? this.open();
        socket.write(request);
    }

    /** Closes the connection without reporting a result. */
    close(): void {
        const socket = this.#socket;
        this.#socket = undefined;
        this.#reader = undefined;
        socket?.destroy();
    }

    private open(): Socket {
        const socket = connect({ host: this.address.host, port: this.address.port, noDelay: true });
        this.#socket = socket;
        const ended = (reason: string) => {
            if (socket === this.#socket) this.end(reason);
        };
        socket.on("data", (chunk) => {
            if (socket === this.#socket) this.receive(chunk);
        });
        socket.on("end", () => ended("ConnectionLost: the server ended the connection"));
        socket.on("error", (error: NodeJS.ErrnoException) =>
            ended(`${error.syscall === "connect" ? "ConnectFailed" : "ConnectionLost"}: ${error.code}`),
        );
        socket.on("close", () => ended("ConnectionLost: the connection was closed"));
        return socket;
    }

    private receive(chunk: Buffer): void {
        if (this.#call && !this.#reader && this.caller.isAnswer(chunk)) {
            this.answered();
            return;
        }
        const whole = this.#reader === undefined;
        const { framed, method } = this.caller.options;
        try {
            this.#reader ??= new MessageReader({ framed });
            this.#reader.push(chunk);
            const message = this.#reader.next();
            if (message === undefined) return;
            if (this.#call === undefined || this.#reader.buffered > 0) throw new Error("unexpected data");
            verify(message, method);
            this.#reader = undefined;
            if (isLast(message.bytes)) this.close();
            else if (whole) this.caller.learn(chunk);
            this.answered();
        } catch (error) {
            this.end(`BadReply: ${(error as Error).message}`);
        }
    }

    private answered(): void {
        const call = this.#call as Call;
        this.#call = undefined;
        this.caller.settle(call);
        this.caller.release(this);
    }

    private end(reason: string): void {
        const call = this.#call;
        this.#call = undefined;
        this.close();
        if (!call) return;
        this.caller.settle(call, reason, `${this.address.host}:${this.address.port}`);
        this.caller.release(this);
    }
}

function verify(reply: Message, method: string): void {
    if (reply.type !== MessageType.reply) throw new Error("the server answered with an exception");
    if (reply.name !== method) throw new Error(`a reply to ${reply.name} came for ${method}`);
}
