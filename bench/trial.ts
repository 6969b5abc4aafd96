/** One fault under load, from a whole deployment to a whole one. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { readJournal } from "../replacement/journal";
import type { ProcessMachine } from "../roles/render/process";
import { machineDirectory } from "../supervisor/machine";
import { type Deployment, endpointOf, usedBy } from "./deployment";
import type { Fault, Strike } from "./injections";
import { type Latency, type Load, type Report, startLoad } from "./load";
import { untilWhole } from "./settled";

/** Calls per second: of the client that tries once, through one balancer, and of the one that repeats, over all. */
const RATE = { raw: 300, retrying: 50 };
/** Every call's deadline, milliseconds. */
const DEADLINE_MS = 1_000;
/** Load before the fault, milliseconds; the random part keeps faults from falling in step with health checks. */
const WARM_UP_MS = { least: 1_500, random: 500 };
/** Load from the fault on, milliseconds: also after a quick recovery, and no more when there is none. */
const LOAD_MS = { least: 6_000, most: 20_000 };
/** Between two looks at a balancer while a gateway is still used, milliseconds. */
const LOOK_MS = 10;

/** What a fault did. Times called `…Ms` are milliseconds after the fault unless their comment says otherwise. */
export interface Outcome {
    readonly fault: string;
    readonly target: string;
    /** ISO 8601. */
    readonly at: string;
    readonly raw: Calls;
    readonly retrying: Calls;
    /** When the balancer of the raw calls stopped giving calls to the gateway. */
    readonly unusedMs?: number;
    /** When the replacement loop decided to replace the gateway. */
    readonly decidedMs?: number;
    /** When everything was whole again; undefined when it was not within the time for it. */
    readonly recoveredMs?: number;
    /** What was amiss at the end; empty after a recovery. */
    readonly problems: readonly string[];
}

/** How the calls of one client went. */
export interface Calls {
    readonly made: number;
    /** Failed before the fault: something else is wrong. */
    readonly failedBefore: number;
    readonly failed: number;
    /** From the first failure to the last, milliseconds. */
    readonly outageMs: number;
    /** Of each failed call, when it was meant to start and when it failed. Negative: before the fault. */
    readonly failures: readonly { readonly startedMs: number; readonly failedMs: number; readonly error: string }[];
    /** Of the calls that succeeded, from their intended start. */
    readonly latencyMs: Latency | undefined;
}

/**
 * Makes a fault under load and watches until the deployment is whole again. Whatever happens, the load has stopped and
 * the fault is taken back when this ends.
 *
 * @param say told what is going on.
 * @throws Error when there is no victim for the fault.
 */
export async function runTrial(
    deployment: Deployment,
    fault: Fault,
    trial: number,
    signal: AbortSignal,
    say: (line: string) => void,
): Promise<Outcome> {
    const strike = await fault.prepare(deployment, trial);
    const addresses = deployment.balancers.map((balancer) => endpointOf(balancer, "balancer"));
    const common = { addresses, deadlineMs: DEADLINE_MS, method: "echo" } as const;
    const raw = startLoad({ ...common, ratePerSecond: RATE.raw });
    const retrying = startLoad({ ...common, ratePerSecond: RATE.retrying, raw: false });
    // Even when this process ends at once: nothing may stay stopped.
    process.on("exit", strike.undo);
    const done = new AbortController();
    const ended = AbortSignal.any([signal, done.signal]);
    try {
        await delay(WARM_UP_MS.least + Math.random() * WARM_UP_MS.random, undefined, { signal });
        const faultAt = performance.timeOrigin + performance.now();
        const unusedAt = strike.gateway && untilUnused(deployment, strike.gateway, ended);
        await strike.strike();
        say(`${fault.name}: ${strike.target}`);
        const undone = undoLater(strike, ended);

        const recovery = untilWhole(deployment, () => strike.isBack(), signal, faultAt);
        await loadFor(recovery, signal);
        const [rawReport, retryingReport] = await Promise.all([raw.stop(), retrying.stop()]);
        const { wholeAt, amiss } = await recovery;
        done.abort();
        await undone;
        const since = (at: number | undefined) => (at === undefined ? undefined : Math.round(at - faultAt));
        return withoutUndefined({
            fault: fault.name,
            target: strike.target,
            at: new Date(faultAt).toISOString(),
            raw: callsOf(rawReport, faultAt),
            retrying: callsOf(retryingReport, faultAt),
            unusedMs: since(await unusedAt),
            decidedMs: strike.replaced ? since(decisionAfter(deployment, faultAt)) : undefined,
            recoveredMs: since(wholeAt),
            problems: amiss,
        });
    } finally {
        done.abort();
        strike.undo();
        process.off("exit", strike.undo);
        await Promise.all([stopped(raw), stopped(retrying)]);
    }
}

const stopped = (load: Load) => load.stop().then(() => undefined);

/** Lets the load run until the recovery, but for its least and most time. */
async function loadFor(recovery: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const most = new AbortController();
    const limit = delay(LOAD_MS.most, undefined, { signal: AbortSignal.any([signal, most.signal]) }).catch(() => {});
    await Promise.all([Promise.race([recovery, limit]), delay(LOAD_MS.least, undefined, { signal })]);
    most.abort();
}

async function undoLater(strike: Strike, ended: AbortSignal): Promise<void> {
    if (strike.undoAfterMs === undefined) return;
    await delay(strike.undoAfterMs, undefined, { signal: ended }).catch(() => undefined);
    strike.undo();
}

/** When the balancer of the raw calls was first seen not to use the gateway, in milliseconds since the epoch. */
async function untilUnused(
    { balancers }: Deployment,
    gateway: ProcessMachine,
    ended: AbortSignal,
): Promise<number | undefined> {
    while (!ended.aborted) {
        if ((await usedBy(balancers[0] as ProcessMachine))?.has(gateway.address) === false) return Date.now();
        await delay(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    }
    return undefined;
}

/** When the loop first decided to act after a time; both in milliseconds since the epoch. */
function decisionAfter({ home, replacer }: Deployment, time: number): number | undefined {
    if (!replacer) return undefined;
    const journal = join(machineDirectory(home, replacer.name), "lib/journal.jsonl");
    const entry = readJournal(journal).find(
        (each) => each.kind === "decision" && each.time * 1000 > time && each.decision.actions.length > 0,
    );
    return entry && entry.time * 1000;
}

function callsOf(report: Report, faultAt: number): Calls {
    const round = (time: number) => Math.round((time - faultAt) * 10) / 10;
    const all = report.failures.map((failure) => ({
        startedMs: round(failure.startedAt),
        failedMs: round(failure.failedAt),
        error: failure.error,
    }));
    const failures = all.filter((failure) => failure.failedMs >= 0);
    const times = failures.map((failure) => failure.failedMs);
    return {
        made: report.started,
        failedBefore: all.length - failures.length,
        failed: failures.length,
        outageMs: times.length === 0 ? 0 : Math.round(Math.max(...times) - Math.min(...times)),
        failures,
        latencyMs: report.latencyMs,
    };
}

/** The same without the properties that are undefined. */
function withoutUndefined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
    return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}
