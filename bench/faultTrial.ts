/** One fault under load, from a healthy deployment to its recovery. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Latency, type Load, type Report, startLoad } from "../gateway-sample/load";
import type { ProcessMachine } from "../programs/supervisor/description";
import { machineDirectory } from "../programs/supervisor/machine";
import { readJournal } from "../replacement/journal";
import { waitUntilRecovered } from "./deploymentRecovery";
import { type Fault, undoLater } from "./faultInjection";
import { type Deployment, endpointOf, gatewaysInUse } from "./localDeployment";

/** Calls per second: `raw` tries once, through one balancer; `retrying` retries, over all balancers. */
const RATE = { raw: 300, retrying: 50 };
/** Deadline of a call, milliseconds. */
const DEADLINE_MS = 1_000;
/** Load before the fault, milliseconds. The random part keeps faults out of step with health checks. */
const WARM_UP_MS = { least: 1_500, random: 500 };
/** Load after the fault, milliseconds: at least, even after a quick recovery, and at most. */
const LOAD_MS = { least: 6_000, most: 20_000 };
/** Interval between two polls of a balancer's status, milliseconds. */
const LOOK_MS = 10;

/** Effect of a fault. Times are milliseconds after the fault unless their comment says otherwise. */
export interface FaultTrialResult {
    readonly fault: string;
    readonly target: string;
    /** ISO 8601. */
    readonly at: string;
    readonly raw: ClientCalls;
    readonly retrying: ClientCalls;
    /** When the balancer of the raw calls stopped using the gateway. */
    readonly unusedMs?: number;
    /** When the replacement loop decided to replace the gateway. */
    readonly decidedMs?: number;
    /** When the deployment had recovered. Undefined when it did not recover in time. */
    readonly recoveredMs?: number;
    /** Problems at the end; empty after a recovery. */
    readonly problems: readonly string[];
}

/** Results of the calls of one client. */
export interface ClientCalls {
    readonly made: number;
    /** Calls that failed before the fault, which means that something else is wrong. */
    readonly failedBefore: number;
    readonly failed: number;
    /** From the first failure to the last, milliseconds. */
    readonly outageMs: number;
    /** For each failed call, when it was due to start and when it failed. Negative: before the fault. */
    readonly failures: readonly { readonly startedMs: number; readonly failedMs: number; readonly error: string }[];
    /** Latency of the successful calls, from their intended start. */
    readonly latencyMs: Latency | undefined;
}

/**
 * Injects a fault under load and waits until the deployment has recovered. In any case it then stops the load and undoes
 * the fault.
 *
 * @param say prints progress.
 * @throws Error when there is no victim for the fault.
 */
export async function runFaultTrial(
    deployment: Deployment,
    fault: Fault,
    trial: number,
    signal: AbortSignal,
    say: (line: string) => void,
): Promise<FaultTrialResult> {
    const injection = await fault.prepare(deployment, trial);
    const addresses = deployment.balancers.map((balancer) => endpointOf(balancer, "balancer"));
    const common = { addresses, deadlineMs: DEADLINE_MS, method: "echo" } as const;
    const raw = startLoad({ ...common, ratePerSecond: RATE.raw });
    const retrying = startLoad({ ...common, ratePerSecond: RATE.retrying, raw: false });
    // No process may stay stopped, even when this one exits at once.
    process.on("exit", injection.undo);
    const done = new AbortController();
    const ended = AbortSignal.any([signal, done.signal]);
    try {
        await delay(WARM_UP_MS.least + Math.random() * WARM_UP_MS.random, undefined, { signal });
        const faultAt = performance.timeOrigin + performance.now();
        const unusedAt = injection.gateway && untilUnused(deployment, injection.gateway, ended);
        await injection.inject();
        say(`${fault.name}: ${injection.target}`);
        const undone = undoLater(injection, ended);

        const recovery = waitUntilRecovered(deployment, () => injection.isBack(), signal, faultAt);
        await loadFor(recovery, signal);
        const [rawReport, retryingReport] = await Promise.all([raw.stop(), retrying.stop()]);
        const { recoveredAt, problems } = await recovery;
        done.abort();
        await undone;
        const since = (at: number | undefined) => (at === undefined ? undefined : Math.round(at - faultAt));
        return withoutUndefined({
            fault: fault.name,
            target: injection.target,
            at: new Date(faultAt).toISOString(),
            raw: callsOf(rawReport, faultAt),
            retrying: callsOf(retryingReport, faultAt),
            unusedMs: since(await unusedAt),
            decidedMs: injection.replaced ? since(decisionAfter(deployment, faultAt)) : undefined,
            recoveredMs: since(recoveredAt),
            problems,
        });
    } finally {
        done.abort();
        injection.undo();
        process.off("exit", injection.undo);
        await Promise.all([stopped(raw), stopped(retrying)]);
    }
}

const stopped = (load: Load) => load.stop().then(() => undefined);

/** Lets the load run until the recovery, within {@link LOAD_MS}. */
async function loadFor(recovery: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const most = new AbortController();
    const limit = delay(LOAD_MS.most, undefined, { signal: AbortSignal.any([signal, most.signal]) }).catch(() => {});
    await Promise.all([Promise.race([recovery, limit]), delay(LOAD_MS.least, undefined, { signal })]);
    most.abort();
}

/** When the balancer of the raw calls first did not use the gateway, in milliseconds since the epoch. */
async function untilUnused(
    { balancers }: Deployment,
    gateway: ProcessMachine,
    ended: AbortSignal,
): Promise<number | undefined> {
    while (!ended.aborted) {
        if ((await gatewaysInUse(balancers[0] as ProcessMachine))?.has(gateway.address) === false) return Date.now();
        await delay(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    }
    return undefined;
}

/** When the loop first decided to act after `time`. Both are milliseconds since the epoch. */
function decisionAfter({ home, replacer }: Deployment, time: number): number | undefined {
    if (!replacer) return undefined;
    const journal = join(machineDirectory(home, replacer.name), "lib/journal.jsonl");
    const entry = readJournal(journal).find(
        (each) => each.kind === "decision" && each.time * 1000 > time && each.decision.actions.length > 0,
    );
    return entry && entry.time * 1000;
}

function callsOf(report: Report, faultAt: number): ClientCalls {
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

/** A copy without undefined properties. */
function withoutUndefined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
    return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}
