/** A client for any generated Thrift service. It survives the failure of servers and balancers. */

import { setTimeout as sleep } from "node:timers/promises";
import { Thrift } from "thrift";
import { MAX_MESSAGE_BYTES, type Message } from "../wire/message";
import { type Address, AddressBook, parseAddress } from "./address";
import { type EncodedCall, encodeCall, type GeneratedClient } from "./call";
import { Connection, type ConnectionOptions } from "./connection";
import {
    AllAddressesFailed,
    BadReply,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    type FailedTry,
    OutcomeUnknown,
    TooManyCalls,
    TryTimedOut,
} from "./errors";

/** The methods of a generated client, in their variants that return promises. */
export type Calls<C> = {
    readonly [M in keyof C as Call<C[M]> extends never ? never : M]: Call<C[M]>;
};

type Call<F> = F extends { (...args: infer A): Promise<infer R>; (...args: infer _): void }
    ? (...args: A) => Promise<R>
    : never;

/** How a client reaches servers, and when it gives up. */
export interface ChannelOptions {
    /** `host:port` of each server or balancer; at least one. */
    readonly addresses: readonly string[];
    /** Whether messages are framed (TFramedTransport). Default false. */
    readonly framed?: boolean;
    /** The longest that a call may take, including retries. Default 1000. */
    readonly deadlineMs?: number;
    /** The longest that one attempt to connect may take. Default 500, or half the deadline if that is less. */
    readonly connectTimeoutMs?: number;
    /**
     * The longest wait for an answer to an idempotent call before a retry. It must be longer than any such call takes. The
     * last try may take until the deadline. Default: half of the time left.
     */
    readonly tryTimeoutMs?: number;
    /** How often to send an idempotent call at most. Default 3. Only the deadline limits attempts to connect. */
    readonly attempts?: number;
    /** Idle connections to keep per address; 0 opens a connection for each call. Default 4. */
    readonly poolSize?: number;
    /** The most concurrent calls. More fail with TooManyCalls. Default 1000. */
    readonly maxCalls?: number;
    /** How long to keep an unused connection. It must be less than the servers' own limit. Default 60000. */
    readonly idleMs?: number;
    /** A larger reply fails the call. Default 16 MiB. */
    readonly maxMessageBytes?: number;
    /** Whether to try each call exactly once, for measurements. Default false. */
    readonly raw?: boolean;
}

/** Options of {@link createClient} for a service with the generated client class `C`. */
export interface ClientOptions<C> extends ChannelOptions {
    /** Name of the service on a multiplexed server. Default: not multiplexed. */
    readonly serviceName?: string;
    /**
     * The methods that may run more than once. The client retries them on another connection after a failure. `true` means
     * all. Default none: the client retries a call only when nothing of it was sent.
     */
    readonly idempotent?: true | readonly (keyof Calls<C> & string)[];
}

/** Options of one call. They override those of its client. */
export interface CallOptions {
    readonly deadlineMs?: number;
    readonly idempotent?: boolean;
}

/** A client of a service with the generated client class `C`. */
export interface ServiceClient<C> {
    /** The service's methods: `await client.api.echo("hello")`. */
    readonly api: Calls<C>;
    /**
     * Calls a method by name, with options for this call only.
     *
     * @throws CallFailed (DeadlineExceeded, AllAddressesFailed, OutcomeUnknown, ClientClosed, TooManyCalls)
     * @throws the exceptions of the service's IDL, and TApplicationException
     */
    call<M extends keyof Calls<C> & string>(
        method: M,
        args: Calls<C>[M] extends (...args: infer A) => unknown ? A : never,
        options?: CallOptions,
    ): Calls<C>[M] extends (...args: never[]) => infer R ? R : never;
    /** Closes all connections. Calls in flight fail with ClientClosed. Idempotent. */
    close(): void;
}

/** Waits between tries, milliseconds: the first, doubled up to the longest. Half of each is random. */
const BACKOFF_MS = { first: 10, longest: 200 };

/**
 * Creates a client. It opens connections on demand.
 *
 * @param service the generated module of the service (or its `Client` class)
 * @throws Error when an address or another option is invalid
 */
export function createClient<C extends object>(
    service: GeneratedClient<C>,
    options: ClientOptions<C>,
): ServiceClient<C> {
    const channel = new Channel(options);
    const { framed = false, serviceName, idempotent = [] } = options;
    const call = async (method: string, args: readonly unknown[], once: CallOptions = {}) => {
        const encoded = await encodeCall(service, method, args, { framed, serviceName });
        const repeatable =
            once.idempotent ?? (idempotent === true || (idempotent as readonly string[]).includes(method));
        return channel.carry(encoded, repeatable, once.deadlineMs ?? options.deadlineMs ?? 1000);
    };
    const api = new Proxy({} as Calls<C>, {
        // Without a method `then`, or `await client.api` would hang.
        get: (_, method) =>
            typeof method === "string" && method !== "then" ? (...args: unknown[]) => call(method, args) : undefined,
    });
    return { api, call: call as unknown as ServiceClient<C>["call"], close: () => channel.close() };
}

/** Sends encoded calls to any address that answers. */
class Channel {
    readonly #options: ChannelOptions;
    readonly #connectionOptions: ConnectionOptions;
    readonly #addresses: AddressBook;
    readonly #addressCount: number;
    /** Idle connections, the least recently used first. */
    readonly #idle = new Map<Address, Connection[]>();
    readonly #busy = new Set<Connection>();
    #calls = 0;
    #closed = false;

    constructor(options: ChannelOptions) {
        const addresses = [...new Set(options.addresses)].map(parseAddress);
        if (addresses.length === 0) throw new Error("a client needs at least one address");
        const positive = ["deadlineMs", "connectTimeoutMs", "tryTimeoutMs", "attempts", "maxCalls", "idleMs"] as const;
        for (const key of positive) {
            const value = options[key];
            if (value !== undefined && !(value > 0)) throw new Error(`${key} must be more than 0, not ${value}`);
        }
        this.#options = options;
        this.#connectionOptions = {
            framed: options.framed ?? false,
            maxBytes: options.maxMessageBytes ?? MAX_MESSAGE_BYTES,
            idleMs: options.idleMs ?? 60_000,
        };
        this.#addresses = new AddressBook(addresses);
        this.#addressCount = addresses.length;
        for (const address of addresses) this.#idle.set(address, []);
    }

    /** Makes a call and returns its result. See {@link ServiceClient.call} for the errors. */
    async carry(call: EncodedCall, idempotent: boolean, deadlineMs: number): Promise<unknown> {
        if (this.#closed) throw new ClientClosed();
        const { maxCalls = 1000 } = this.#options;
        if (this.#calls >= maxCalls) throw new TooManyCalls(`${maxCalls} calls are under way`, []);
        this.#calls += 1;
        try {
            return await this.#carry(call, idempotent, deadlineMs);
        } finally {
            this.#calls -= 1;
        }
    }

    async #carry(call: EncodedCall, idempotent: boolean, deadlineMs: number): Promise<unknown> {
        const { raw = false, tryTimeoutMs = Number.POSITIVE_INFINITY } = this.#options;
        const { connectTimeoutMs = raw ? deadlineMs : Math.min(500, deadlineMs / 2) } = this.#options;
        const attempts = raw || !idempotent ? 1 : (this.#options.attempts ?? 3);
        const deadline = performance.now() + deadlineMs;
        const left = () => Math.max(0, deadline - performance.now());
        const tries: FailedTry[] = [];
        const tried = new Set<Address>();
        let timesSent = 0;
        for (let round = 0; ; round++) {
            const address = this.#addresses.pick(tried);
            tried.add(address);
            const sentBefore = timesSent;
            let failure: Error;
            try {
                // The cause of a failure may affect other connections to this address, so a retry opens a new one.
                const connection = await this.#connect(address, round === 0, Math.min(connectTimeoutMs, left()));
                timesSent += 1;
                const timeoutMs = timesSent === attempts ? left() : Math.min(tryTimeoutMs, left() / 2);
                const result = await this.#exchange(connection, address, call, timeoutMs);
                this.#addresses.succeeded(address);
                return result;
            } catch (error) {
                failure = error as Error;
                if (!(isTransportFailure(failure) || isServerFailure(failure))) {
                    this.#addresses.succeeded(address);
                    throw failure;
                }
            }
            tries.push({ address: address.text, error: failure, sent: timesSent > sentBefore });
            if (this.#closed) throw new ClientClosed(tries);
            if (isServerFailure(failure)) this.#addresses.leaving(address);
            else this.#addresses.failed(address);

            const pause = tried.size < this.#addressCount ? 0 : backoff(round);
            const givenUp = raw || timesSent >= attempts;
            if (givenUp && isServerFailure(failure)) throw failure;
            // A try that used all the time hit the deadline, even if its timer fired a moment early.
            const late = givenUp ? failure instanceof TryTimedOut : timesSent > 0 && left() <= pause;
            if (late) {
                throw new DeadlineExceeded(`no answer within ${deadlineMs} ms`, tries);
            }
            if (givenUp && timesSent > 0 && !idempotent) {
                throw new OutcomeUnknown("the connection was lost; the server may have executed the call", tries);
            }
            if (givenUp || left() <= pause) {
                const what = timesSent > 0 ? "every try failed" : "no address accepted a connection";
                throw new AllAddressesFailed(what, tries);
            }
            if (pause > 0) await sleep(pause);
        }
    }

    close(): void {
        this.#closed = true;
        for (const connection of [...this.#busy, ...[...this.#idle.values()].flat()]) connection.close();
    }

    /** A usable connection, marked as busy. */
    async #connect(address: Address, reuse: boolean, timeoutMs: number): Promise<Connection> {
        const idle = this.#idle.get(address) as Connection[];
        while (reuse) {
            const kept = idle.shift();
            if (kept === undefined) break;
            this.#busy.add(kept);
            await kept.settled;
            if (kept.usable) return kept;
        }
        const connection = await Connection.open(address, timeoutMs, this.#connectionOptions);
        if (this.#closed) {
            connection.close();
            throw new ConnectFailed("the client is closed");
        }
        this.#busy.add(connection);
        connection.onGone = (byServer) => {
            this.#busy.delete(connection);
            const at = idle.indexOf(connection);
            if (at >= 0) idle.splice(at, 1);
            if (byServer) this.#addresses.leaving(address);
        };
        return connection;
    }

    async #exchange(connection: Connection, address: Address, call: EncodedCall, timeoutMs: number): Promise<unknown> {
        let reply: Message | undefined;
        if (call.oneway) await connection.send(call.request);
        else reply = await connection.exchange(call.request, timeoutMs);

        this.#busy.delete(connection);
        const idle = this.#idle.get(address) as Connection[];
        if (this.#closed || idle.length >= (this.#options.poolSize ?? 4)) connection.close();
        else if (connection.usable) idle.push(connection);

        if (reply === undefined) return undefined;
        try {
            return await call.decode(reply);
        } catch (error) {
            if (error instanceof BadReply) connection.close();
            throw error;
        }
    }
}

/** Whether a try failed below the service, so that another connection may succeed. */
function isTransportFailure(error: Error): boolean {
    return [ConnectFailed, ConnectionLost, TryTimedOut, BadReply].some((kind) => error instanceof kind);
}

/** Whether the server is at fault, not the call: it is leaving, or a handler failed. */
function isServerFailure(error: Error): boolean {
    const { INTERNAL_ERROR } = Thrift.TApplicationExceptionType;
    return error instanceof Thrift.TApplicationException && (error as { type?: number }).type === INTERNAL_ERROR;
}

function backoff(round: number): number {
    const longest = Math.min(BACKOFF_MS.longest, BACKOFF_MS.first * 2 ** Math.min(round, 16));
    return longest * (0.5 + 0.5 * Math.random());
}
