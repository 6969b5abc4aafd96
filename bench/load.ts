/**
 * An open-loop load generator: calls start on schedule, whatever became of earlier ones, and latency counts from
 * the time at which a call was meant to start. A server that stops is seen as it is seen by users.
 */

import { CallFailed, createClient, parseAddress } from "../gateway-sample/client";
import { encodeCall } from "../gateway-sample/client/call";
import { Connection } from "../gateway-sample/client/connection";
import { BadReply } from "../gateway-sample/client/errors";
import * as GatewayApi from "../gateway-sample/gen/GatewayApi";
import { type Message, MessageType } from "../gateway-sample/wire/message";

/** What load to make. */
export interface LoadOptions {
    /** `host:port` of each balancer or server. With `raw`, only the first is called: raw measures one balancer. */
    readonly addresses: readonly string[];
    /** Default false. */
    readonly framed?: boolean;
    /** The service's name on a multiplexed server. Default: not multiplexed. */
    readonly serviceName?: string;
    /** Default `echo`. A draining server answers `ping` with an exception, which raw load counts as a failure. */
    readonly method?: "ping" | "echo";
    readonly ratePerSecond: number;
    /** `perCall` makes a connection for each call, `kept` uses connections again. Default `perCall`. */
    readonly connection?: "perCall" | "kept";
    /** Connections kept per address. Default 16. */
    readonly connections?: number;
    /** A call without an answer by then has failed. From its start, in milliseconds. Default 1000. */
    readonly deadlineMs?: number;
    /** Each call is tried once; otherwise the client library repeats it. Default true. */
    readonly raw?: boolean;
    /** Called with each failure as it happens. */
    readonly onFailure?: (failure: Failure) => void;
}

/** A call that failed. Times are milliseconds since the epoch, with fractions. */
export interface Failure {
    /** When it was meant to start. */
    readonly startedAt: number;
    readonly failedAt: number;
    /** The address tried last. */
    readonly address: string;
    readonly error: string;
}

/** Load that is being made. */
export interface Load {
    /** Counters that change as the load goes on. */
    readonly live: { readonly started: number; readonly ok: number; readonly failed: number };
    /** Ends the schedule, waits for the calls in flight (at most one deadline) and reports. Idempotent. */
    stop(): Promise<Report>;
}

/** How the calls went. Times are milliseconds since the epoch, with fractions; durations are milliseconds. */
export interface Report {
    readonly started: number;
    readonly ok: number;
    readonly failed: number;
    readonly failures: readonly Failure[];
    /** When the first and the last call failed. */
    readonly firstFailureAt: number | undefined;
    readonly lastFailureAt: number | undefined;
    /** From the first failure to the last. */
    readonly outageMs: number;
    /** From the start of the first call that failed to the start of the last. */
    readonly failedStartsMs: number;
    /** Of the calls that succeeded, from their intended start; undefined when there was none. */
    readonly latencyMs: Latency | undefined;
}

/** Percentiles, in milliseconds. */
export interface Latency {
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
}

/** Milliseconds between two looks at the schedule: the least that a timer can do. */
const TICK_MS = 1;

/**
 * Starts calling at once.
 *
 * @throws Error when an address is wrong or the rate is not positive
 */
export function startLoad(options: LoadOptions): Load {
    const { ratePerSecond, deadlineMs = 1000 } = options;
    if (!(ratePerSecond > 0)) throw new Error(`ratePerSecond must be more than 0, not ${ratePerSecond}`);
    const caller = makeCaller(options, deadlineMs);
    const live = { started: 0, ok: 0, failed: 0 };
    const latencies: number[] = [];
    const failures: Failure[] = [];
    const inFlight = new Set<Promise<void>>();
    const start = performance.now();

    const one = async (intended: number): Promise<void> => {
        try {
            await caller.call();
            latencies.push(performance.now() - intended);
            live.ok += 1;
        } catch (error) {
            const failedAt = performance.timeOrigin + performance.now();
            const address = error instanceof CallFailed ? error.tries.at(-1)?.address : undefined;
            const failure = {
                startedAt: performance.timeOrigin + intended,
                failedAt,
                address: address ?? (options.addresses[0] as string),
                error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
            };
            failures.push(failure);
            live.failed += 1;
            options.onFailure?.(failure);
        }
    };
    const startDue = () => {
        const now = performance.now();
        for (;;) {
            const intended = start + (live.started * 1000) / ratePerSecond;
            if (intended > now) return;
            live.started += 1;
            const call = one(intended).finally(() => inFlight.delete(call));
            inFlight.add(call);
        }
    };
    const timer = setInterval(startDue, TICK_MS);
    startDue();

    let report: Promise<Report> | undefined;
    const stop = async (): Promise<Report> => {
        clearInterval(timer);
        await Promise.all(inFlight);
        caller.close();
        return summarize(live, latencies, failures);
    };
    return {
        live,
        stop: () => {
            report ??= stop();
            return report;
        },
    };
}

interface Caller {
    /** Makes one call; rejects when it fails. */
    call(): Promise<unknown>;
    close(): void;
}

const TEXT = "0123456789abcdef";

function makeCaller(options: LoadOptions, deadlineMs: number): Caller {
    const { framed = false, serviceName, method = "echo", connection = "perCall", raw = true } = options;
    const addresses = raw ? options.addresses.slice(0, 1) : options.addresses;
    const args: [] | [string] = method === "echo" ? [TEXT] : [];
    if (raw && connection === "perCall") {
        const [address] = addresses.map(parseAddress);
        if (address === undefined) throw new Error("load needs an address");
        // Encoded once: every call is the same bytes on a connection of its own.
        const encoding = encodeCall(GatewayApi, method, args, { framed, serviceName });
        return {
            call: async () => {
                const deadline = performance.now() + deadlineMs;
                const { request } = await encoding;
                const one = await Connection.open(address, deadlineMs, { framed });
                try {
                    verify(await one.exchange(request, deadline - performance.now()), method);
                } finally {
                    one.close();
                }
            },
            close: () => {},
        };
    }
    const client = createClient(GatewayApi, {
        addresses,
        framed,
        deadlineMs,
        raw,
        poolSize: connection === "kept" ? (options.connections ?? 16) : 0,
        maxCalls: Number.MAX_SAFE_INTEGER,
        idempotent: true,
        ...(serviceName === undefined ? {} : { serviceName }),
    });
    return {
        call: () => (method === "echo" ? client.api.echo(TEXT) : client.api.ping()),
        close: () => client.close(),
    };
}

function verify(reply: Message, method: string): void {
    if (reply.type !== MessageType.reply) throw new BadReply("the server answered with an exception");
    if (reply.name !== method) throw new BadReply(`a reply to ${reply.name} came for ${method}`);
}

function summarize(
    live: { readonly started: number; readonly ok: number; readonly failed: number },
    latencies: readonly number[],
    failures: readonly Failure[],
): Report {
    const failedAt = failures.map((failure) => failure.failedAt);
    const startedAt = failures.map((failure) => failure.startedAt);
    const first = least(failedAt);
    const last = most(failedAt);
    const sorted = Float64Array.from(latencies).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number;
    return {
        ...live,
        failures,
        firstFailureAt: first,
        lastFailureAt: last,
        outageMs: (last ?? 0) - (first ?? 0),
        failedStartsMs: (most(startedAt) ?? 0) - (least(startedAt) ?? 0),
        latencyMs:
            sorted.length === 0
                ? undefined
                : { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) },
    };
}

const least = (values: readonly number[]) =>
    values.length === 0 ? undefined : values.reduce((a, b) => Math.min(a, b));
const most = (values: readonly number[]) => (values.length === 0 ? undefined : values.reduce((a, b) => Math.max(a, b)));
