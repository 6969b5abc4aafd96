/**
 * A load generator. Its load is an open loop: calls start on schedule, independent of earlier ones, and latency counts from
 * the intended start. So a server that stalls shows as it does to users. A closed loop measures saturation only.
 */
import * as hdr from "hdr-histogram-js";
import { parseAddress } from "../client";
import type { Call, Caller, Settle } from "./caller";
import { libraryCaller } from "./libraryCaller";
import { callsDue, intendedStart, type Ticker, timerTicks } from "./schedule";
import { SocketCaller } from "./socketCaller";

/** Options of a load. */
export interface LoadOptions {
    /** `host:port` of each balancer or server. */
    readonly addresses: readonly string[];
    /** Default false. */
    readonly framed?: boolean;
    /** Name of the service on a multiplexed server. Default: not multiplexed. */
    readonly serviceName?: string;
    /** Default `echo`. A draining server answers `ping` with an exception, which raw load counts as a failure. */
    readonly method?: "ping" | "echo";
    readonly ratePerSecond: number;
    /** `perCall` opens a connection for each call, `kept` reuses connections. Default `perCall`. */
    readonly connection?: "perCall" | "kept";
    /** The most kept connections in all. Above it, calls wait for a free one. Default 16. */
    readonly connections?: number;
    /** Deadline of a call from its intended start, milliseconds. Default 1000. */
    readonly deadlineMs?: number;
    /** Whether each call is tried only once. Otherwise the client library retries it. Default true. */
    readonly raw?: boolean;
    /**
     * Whether raw calls go to each address in turn, as without a balancer. Otherwise they go to the first. Default
     * false.
     */
    readonly spread?: boolean;
    /** Called for each failure. */
    readonly onFailure?: (failure: Failure) => void;
    /** Default {@link timerTicks}. */
    readonly ticker?: Ticker;
}

/** A failed call. Times are milliseconds since the epoch, with fractions. */
export interface Failure {
    /** Intended start. */
    readonly startedAt: number;
    readonly failedAt: number;
    /** The last address that was tried. */
    readonly address: string;
    readonly error: string;
}

/** A running load. */
export interface Load {
    /** Counters of the running load. */
    readonly live: { readonly started: number; readonly ok: number; readonly failed: number };
    /** Stops starting calls, waits for those in flight (at most one deadline) and reports. Idempotent. */
    stop(): Promise<Report>;
}

/** Results of a load. Times are milliseconds since the epoch, with fractions; durations are milliseconds. */
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
    /** From the intended start of the first failed call to that of the last. */
    readonly failedStartsMs: number;
    /** From the start of the load to its stop, without the wait for calls in flight. */
    readonly durationMs: number;
    /** Latency of the successful calls from their intended start. Undefined when there was none. */
    readonly latencyMs: Latency | undefined;
    /** Delay from the intended to the actual start of calls: an error of the generator, not of the server. */
    readonly late: Latency | undefined;
    /** `latencyMs` as an HDR histogram of microseconds, compressed, in base64. */
    readonly histogram: string;
}

/** Percentiles, in milliseconds. */
export interface Latency {
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
}

const TEXT = "0123456789abcdef";
/** The highest latency that histograms distinguish, microseconds. */
const LONGEST_US = 60_000_000;

/** An empty histogram of microseconds with two significant digits. */
export const emptyHistogram = () =>
    hdr.build({ bitBucketSize: 32, highestTrackableValue: LONGEST_US, numberOfSignificantValueDigits: 2 });

/**
 * Starts an open loop at once.
 *
 * @throws Error when an address is invalid or the rate is not positive
 */
export function startLoad(options: LoadOptions): Load {
    const { ratePerSecond, ticker = timerTicks } = options;
    if (!(ratePerSecond > 0)) throw new Error(`ratePerSecond must be more than 0, not ${ratePerSecond}`);
    const calls = new Calls(options);
    const start = performance.now();
    const startDue = () => {
        const now = performance.now();
        const due = callsDue(now - start, ratePerSecond);
        while (calls.live.started < due) calls.begin(start + intendedStart(calls.live.started, ratePerSecond), now);
        calls.expire(now);
    };
    const stopTicks = ticker(startDue);
    startDue();
    return { live: calls.live, stop: () => calls.stop(stopTicks) };
}

/**
 * Starts a closed loop at once: it keeps `concurrency` calls in flight, to measure saturation.
 *
 * @throws Error when an address is invalid
 */
export function startClosedLoop(options: Omit<LoadOptions, "ratePerSecond"> & { readonly concurrency: number }): Load {
    let stopped = false;
    const next = () => {
        // Wait for the next turn of the event loop, so that calls that fail at once do not recurse.
        if (!stopped) setImmediate(() => stopped || calls.begin(performance.now(), performance.now()));
    };
    const calls = new Calls({ ...options, connections: options.concurrency }, next);
    for (let index = 0; index < options.concurrency; index++) calls.begin(performance.now(), performance.now());
    const timer = setInterval(() => calls.expire(performance.now()), 10);
    return {
        live: calls.live,
        stop: () =>
            calls.stop(() => {
                stopped = true;
                clearInterval(timer);
            }),
    };
}

/** The calls of one load: starts them, enforces their deadlines, and counts results. */
class Calls {
    readonly live = { started: 0, ok: 0, failed: 0 };
    private readonly deadlineMs: number;
    private readonly caller: Caller;
    private readonly histogram = emptyHistogram();
    private readonly late = emptyHistogram();
    private readonly failures: Failure[] = [];
    /** Ordered by intended start, and so by deadline. */
    private readonly pending: Call[] = [];
    private readonly begun = performance.now();
    private report: Promise<Report> | undefined;

    constructor(
        private readonly options: Omit<LoadOptions, "ratePerSecond">,
        private readonly onSettled: () => void = () => undefined,
    ) {
        this.deadlineMs = options.deadlineMs ?? 1000;
        this.caller = makeCaller(options, this.deadlineMs, (call, error, address) => this.settle(call, error, address));
    }

    begin(intended: number, now: number): void {
        const call: Call = { intended, settled: false };
        record(this.late, now - intended);
        this.live.started += 1;
        this.pending.push(call);
        this.caller.begin(call);
    }

    /** Fails the calls whose deadline has passed. */
    expire(now: number): void {
        const late: Call[] = [];
        let gone = 0;
        for (const call of this.pending) {
            if (!call.settled) {
                if (now - call.intended < this.deadlineMs || this.caller.keepsDeadlines) break;
                this.settle(call, `TimedOut: no answer within ${this.deadlineMs} ms`);
                late.push(call);
            }
            gone += 1;
        }
        if (gone > 0) this.pending.splice(0, gone);
        // Abandon them afterwards, so that a freed connection does not go to a call that expires next.
        for (const call of late) call.abandon?.();
    }

    stop(stopStarting: () => void): Promise<Report> {
        this.report ??= this.finish(stopStarting);
        return this.report;
    }

    private async finish(stopStarting: () => void): Promise<Report> {
        stopStarting();
        const durationMs = performance.now() - this.begun;
        await new Promise<void>((done) => {
            const timer = setInterval(() => {
                this.expire(performance.now());
                if (this.live.ok + this.live.failed < this.live.started) return;
                clearInterval(timer);
                done();
            }, 5);
        });
        this.caller.close();
        return summarize(this.live, this.histogram, this.late, this.failures, durationMs);
    }

    private settle(call: Call, error?: string, address?: string): void {
        if (call.settled) return;
        call.settled = true;
        const now = performance.now();
        if (error === undefined) {
            record(this.histogram, now - call.intended);
            this.live.ok += 1;
        } else {
            const failure = {
                startedAt: performance.timeOrigin + call.intended,
                failedAt: performance.timeOrigin + now,
                address: address ?? (this.options.addresses[0] as string),
                error,
            };
            this.failures.push(failure);
            this.live.failed += 1;
            this.options.onFailure?.(failure);
        }
        this.onSettled();
    }
}

function makeCaller(options: Omit<LoadOptions, "ratePerSecond">, deadlineMs: number, settle: Settle): Caller {
    const { addresses, framed = false, serviceName, method = "echo", connection = "perCall" } = options;
    const { connections = 16, raw = true, spread = false } = options;
    if (raw) {
        const parsed = (spread ? addresses : addresses.slice(0, 1)).map(parseAddress);
        const args = method === "echo" ? [TEXT] : [];
        return new SocketCaller(
            { addresses: parsed, method, args, framed, serviceName, connection, connections },
            settle,
        );
    }
    const poolSize = connection === "kept" ? connections : 0;
    return libraryCaller({ addresses, method, text: TEXT, framed, serviceName, poolSize, deadlineMs }, settle);
}

function summarize(
    live: { readonly started: number; readonly ok: number; readonly failed: number },
    histogram: hdr.Histogram,
    late: hdr.Histogram,
    failures: readonly Failure[],
    durationMs: number,
): Report {
    const failedAt = failures.map((failure) => failure.failedAt);
    const startedAt = failures.map((failure) => failure.startedAt);
    const first = least(failedAt);
    const last = most(failedAt);
    return {
        ...live,
        failures,
        firstFailureAt: first,
        lastFailureAt: last,
        outageMs: (last ?? 0) - (first ?? 0),
        failedStartsMs: (most(startedAt) ?? 0) - (least(startedAt) ?? 0),
        durationMs,
        latencyMs: percentiles(histogram),
        late: percentiles(late),
        histogram: hdr.encodeIntoCompressedBase64(histogram),
    };
}

function record(histogram: hdr.Histogram, milliseconds: number): void {
    histogram.recordValue(Math.min(LONGEST_US, Math.max(1, Math.round(milliseconds * 1000))));
}

/** Percentiles of a histogram of microseconds, in milliseconds. Undefined when it is empty. */
export function percentiles(histogram: hdr.Histogram): Latency | undefined {
    if (histogram.totalCount === 0) return undefined;
    const at = (percentile: number) => histogram.getValueAtPercentile(percentile) / 1000;
    return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: histogram.maxValue / 1000 };
}

const least = (values: readonly number[]) =>
    values.length === 0 ? undefined : values.reduce((a, b) => Math.min(a, b));
const most = (values: readonly number[]) => (values.length === 0 ? undefined : values.reduce((a, b) => Math.max(a, b)));
