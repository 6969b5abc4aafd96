/** One trial of the comparison, on a healthy deployment. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { HaproxyRuntime } from "../clients/haproxyRuntime";
import type { Report } from "../gateway-sample/load";
import type { LoadGenerator, RemoteLoad, RemoteLoadOptions } from "../gateway-sample/load/generator";
import { identify, isAlive, signal } from "../lib/processes";
import type { ReconcilerStatus } from "../programs/reconciler/status";
import type { ProcessMachine } from "../programs/supervisor/description";
import { machineDirectory } from "../programs/supervisor/machine";
import type {
    CallOutcome,
    FaultOutcome,
    FaultRecord,
    LatencyRecord,
    PoolRecord,
    SaturationRecord,
    TrialRecord,
} from "./benchRecords";
import { waitUntilRecovered, waitUntilServing, waitUntilSettled } from "./deploymentRecovery";
import { comparisonFaults, type Fault, type FaultInjection, faults, undoLater } from "./faultInjection";
import { type Deployment, endpointOf, gatewaysInUse, isFabio, servicePid } from "./localDeployment";
import { startUsageMeasurement } from "./partUsage";
import { type Cell, type Mix, mixes, phaseOf, type Trial, type Variant, variants } from "./trialMatrix";

/** Deadline of a call, milliseconds. */
export const CALL_DEADLINE_MS = 1_000;
/** Concurrent calls of a closed loop. */
export const CONCURRENCY = 32;
/** The most connections that clients keep. Only a hanging server makes them need so many. */
export const MAX_CONNECTIONS = 256;
/** Rate of the clients that retry, calls per second for each mix. */
const RETRIED_RATE = 50;
/** Load before a measurement or a fault, milliseconds. A fault comes later by its phase within a second. */
const WARM_UP_MS = 1_000;
const PHASE_MS = 1_000;
/** Default of {@link Fault.watchMs}, milliseconds. */
const WATCH_MS = 4_000;
/** The load on pools of all sizes: calls per second, kept connections. */
const POOL_RATE = 500;
/** Interval between two polls of a balancer's status, milliseconds. */
const LOOK_MS = 50;

/** What a trial runs with. */
export interface TrialContext {
    readonly deployment: Deployment;
    readonly generator: LoadGenerator;
    readonly seed: number;
    /** Duration of a measurement of latency or saturation, seconds. */
    readonly seconds: number;
    /** The slowest stack's saturation, calls per second. @throws Error before it was measured. */
    readonly saturation: (mix: Mix) => number;
    readonly signal: AbortSignal;
}

/**
 * Runs a trial other than one of a pool.
 *
 * @throws Error when there is no victim, or the deployment does not become healthy.
 */
export async function measureTrial(context: TrialContext, trial: Trial): Promise<TrialRecord> {
    const { cell } = trial;
    const variant = variants.get(cell.variant) as Variant;
    switch (cell.kind) {
        case "saturation":
            return measureSaturation(context, variant, cell, trial.repeat);
        case "latency":
            return latency(context, variant, cell, trial.repeat);
        case "fault":
            return measureFault(context, variant, cell, trial);
        case "pool":
            throw new Error("a pool is measured by measurePool");
    }
}

type Of<K extends Cell["kind"]> = Extract<Cell, { kind: K }>;

/** The addresses that clients of a variant call. */
function target({ deployment }: TrialContext, variant: Variant): Pick<RemoteLoadOptions, "addresses" | "spread"> {
    return variant.without === "balancer"
        ? { addresses: deployment.gateways.map((gateway) => endpointOf(gateway, "gateway")), spread: true }
        : { addresses: deployment.balancers.map((balancer) => endpointOf(balancer, "balancer")) };
}

async function measureSaturation(
    context: TrialContext,
    variant: Variant,
    cell: Of<"saturation">,
    repeat: number,
): Promise<SaturationRecord> {
    const options = {
        ...target(context, variant),
        connection: cell.mix,
        concurrency: CONCURRENCY,
        deadlineMs: CALL_DEADLINE_MS,
    };
    await whileCalling([await context.generator.startClosedLoop(options)], () => pause(context, WARM_UP_MS));
    const at = new Date().toISOString();
    const load = await context.generator.startClosedLoop(options);
    const ended = startUsageMeasurement(context.deployment, context.generator.pid);
    const { reports, result } = await whileCalling([load], async () => {
        await pause(context, context.seconds * 1000);
        return ended();
    });
    const report = reports[0] as Report;
    return {
        kind: "saturation",
        cell,
        repeat,
        at,
        perSecond: Math.round((report.ok * 1000) / report.durationMs),
        failed: report.failed,
        ...(report.latencyMs ? { measureLatency: report.latencyMs } : {}),
        ...result,
    };
}

async function latency(
    context: TrialContext,
    variant: Variant,
    cell: Of<"latency">,
    repeat: number,
): Promise<LatencyRecord> {
    const rate = Math.round((context.saturation(cell.mix) * cell.load) / 100);
    const { at, report, result } = await measureSteadyLoad(context, {
        ...target(context, variant),
        ...raw(cell.mix, rate),
    });
    return {
        kind: "latency",
        cell,
        repeat,
        at,
        rate,
        outcome: outcomeOf(report),
        histogram: report.histogram,
        ...result,
    };
}

const raw = (mix: Mix, ratePerSecond: number) => ({
    connection: mix,
    connections: MAX_CONNECTIONS,
    deadlineMs: CALL_DEADLINE_MS,
    ratePerSecond,
});

/** Measures an open-loop load without a fault, after a warm-up. */
async function measureSteadyLoad(context: TrialContext, options: RemoteLoadOptions) {
    const { generator, deployment } = context;
    await whileCalling([await generator.start(options)], () => pause(context, WARM_UP_MS));
    const at = new Date().toISOString();
    const load = await generator.start(options);
    const ended = startUsageMeasurement(deployment, generator.pid);
    const { reports, result } = await whileCalling([load], async () => {
        await pause(context, context.seconds * 1000);
        return ended();
    });
    return { at, report: reports[0] as Report, result };
}

/**
 * Measures the CPU and memory of a pool, on a deployment of its size.
 *
 * @param bootMs time from the boot of the last gateways until they got calls.
 */
export async function measurePool(context: TrialContext, trial: Trial, bootMs: number): Promise<PoolRecord> {
    const cell = trial.cell as Of<"pool">;
    const ended = startUsageMeasurement(context.deployment, context.generator.pid);
    await pause(context, context.seconds * 1000);
    const idle = ended().parts;
    const variant = variants.get(cell.variant) as Variant;
    const { at, report, result } = await measureSteadyLoad(context, {
        ...target(context, variant),
        ...raw("kept", POOL_RATE),
    });
    const loaded = { rate: POOL_RATE, outcome: outcomeOf(report), parts: result.parts };
    return { kind: "pool", cell, repeat: trial.repeat, at, bootMs: Math.round(bootMs), idle, loaded };
}

async function measureFault(
    context: TrialContext,
    variant: Variant,
    cell: Of<"fault">,
    trial: Trial,
): Promise<FaultRecord> {
    const { deployment, generator } = context;
    const found = [...comparisonFaults, ...faults].find(({ name }) => name === cell.fault);
    if (!found) throw new Error(`no such fault: ${cell.fault}`);
    await waitUntilServing(deployment, context.signal);
    const injection = await found.prepare(deployment, trial.repeat);
    // The loss of a gateway costs its share of the calls, so it must have a full share.
    if (injection.gateway) await waitUntilSettled(deployment, context.signal);
    const restore = await disablePart(context, variant);
    try {
        process.on("exit", injection.undo);
        const slots = slotsOf(deployment);
        const half = (mix: Mix) => Math.round((context.saturation(mix) * cell.load) / 200);
        const once = mixes.map((mix) => ({ ...target(context, variant), ...raw(mix, half(mix)) }));
        const repeated = mixes.map((mix) => {
            const { addresses } = target(context, variant);
            return { addresses, ...raw(mix, RETRIED_RATE), connections: 4, raw: false };
        });
        const loads: RemoteLoad[] = [];
        for (const options of [...once, ...repeated]) loads.push(await generator.start(options));
        try {
            const { reports, result } = await whileCalling(loads, async () => {
                await pause(context, WARM_UP_MS + PHASE_MS * phaseOf(trial, context.seed));
                return injectAndWatch(context, found, injection);
            });
            const { faultAt } = result;
            injection.undo();
            await injection.repair?.();
            await restore();
            const { recoveredAt, problems } = await waitUntilRecovered(
                deployment,
                () => injection.isBack(),
                context.signal,
            );
            const after = slotsOf(deployment);
            const outcomes = reports.map((report, index) =>
                faultOutcome(report, faultAt, [...once, ...repeated][index]?.ratePerSecond ?? 0),
            ) as [FaultOutcome, FaultOutcome, FaultOutcome, FaultOutcome];
            return {
                kind: "fault",
                cell,
                repeat: trial.repeat,
                at: new Date(faultAt).toISOString(),
                target: injection.target,
                raw: { kept: outcomes[0], perCall: outcomes[1] },
                retried: { kept: outcomes[2], perCall: outcomes[3] },
                ...(result.unusedMs === undefined ? {} : { unusedMs: result.unusedMs }),
                courseMs: result.courseMs,
                ...(recoveredAt === undefined
                    ? {}
                    : { wholeMs: Math.max(0, Math.round(recoveredAt - result.endedAt)) }),
                ...(result.fewestUsed === undefined ? {} : { fewestUsed: result.fewestUsed }),
                ...(cell.fault === "balancer" && slots && after ? { sameSlots: slots === after } : {}),
                problems,
            };
        } finally {
            injection.undo();
            process.off("exit", injection.undo);
            await injection.repair?.();
        }
    } finally {
        await restore();
    }
}

/** Injects a fault and watches the balancer for as long as the fault says. */
async function injectAndWatch(context: TrialContext, { watchMs = WATCH_MS }: Fault, injection: FaultInjection) {
    const { deployment } = context;
    const done = new AbortController();
    const look = watchBalancer(deployment, injection.gateway, done.signal);
    const faultAt = now();
    const undone = undoLater(injection, done.signal);
    try {
        await injection.inject();
        const courseMs = Math.round(now() - faultAt);
        // A fault that takes a while is watched after its end.
        await pause(context, courseMs < 1_000 ? watchMs - courseMs : Math.min(watchMs, 2_000));
        done.abort();
        const { unusedAt, fewestUsed } = await look;
        return {
            faultAt,
            courseMs,
            endedAt: now(),
            ...(unusedAt === undefined ? {} : { unusedMs: Math.round(unusedAt - faultAt) }),
            fewestUsed,
        };
    } finally {
        done.abort();
        await Promise.all([look, undone]);
    }
}

/** Polls the called balancer: when it first did not use the victim, and the fewest gateways that it used. */
async function watchBalancer(deployment: Deployment, victim: ProcessMachine | undefined, ended: AbortSignal) {
    const balancer = deployment.balancers[0] as ProcessMachine;
    let unusedAt: number | undefined;
    let fewestUsed: number | undefined;
    while (!ended.aborted) {
        const used = await gatewaysInUse(balancer);
        if (used) {
            const count = deployment.gateways.filter((gateway) => used.has(gateway.address)).length;
            fewestUsed = Math.min(fewestUsed ?? count, count);
            if (victim && !used.has(victim.address)) unusedAt ??= now();
        }
        await delay(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    }
    return { unusedAt, fewestUsed };
}

/** Disables the part that a variant leaves out. @returns a function that restores it. Idempotent. */
async function disablePart({ deployment }: TrialContext, { without }: Variant): Promise<() => Promise<void>> {
    const balancer = deployment.balancers[0] as ProcessMachine;
    if (without === "discovery") {
        const agent = isFabio(balancer) ? "consul" : "consul-template";
        const process = identify(servicePid(deployment, balancer, agent) ?? 0);
        if (!process) throw new Error(`${agent} of ${balancer.name} is not running`);
        signal(process.pid, "SIGSTOP");
        return async () => {
            if (isAlive(process)) signal(process.pid, "SIGCONT");
        };
    }
    if (without === "checks") {
        const runtime = new HaproxyRuntime(join(machineDirectory(deployment.home, balancer.name), "run/haproxy.sock"));
        const slots = Object.keys(JSON.parse(slotsOf(deployment) ?? "{}") as Record<string, string>);
        for (const slot of slots) await runtime.order(`disable health gateways/${slot}`);
        return async () => {
            for (const slot of slots) await runtime.order(`enable health gateways/${slot}`);
        };
    }
    return async () => undefined;
}

/** The gateway in each of HAProxy's slots, as JSON. Undefined with Fabio. */
function slotsOf({ home, balancers }: Deployment): string | undefined {
    const balancer = balancers[0] as ProcessMachine;
    if (isFabio(balancer)) return undefined;
    const path = join(machineDirectory(home, balancer.name), "run/reconciler.json");
    const { slots } = JSON.parse(readFileSync(path, "utf8")) as ReconcilerStatus;
    return JSON.stringify(Object.fromEntries(Object.entries(slots).sort()));
}

/**
 * Keeps loads running during `work`, then stops them in any case.
 *
 * @returns the result of `work` and the loads' reports.
 */
async function whileCalling<T>(loads: readonly RemoteLoad[], work: () => Promise<T>) {
    const stop = () => Promise.all(loads.map((load) => load.stop()));
    try {
        const result = await work();
        return { result, reports: await stop() };
    } catch (error) {
        await stop();
        throw error;
    }
}

function outcomeOf({ started, failed, latencyMs, late }: Report): CallOutcome {
    return {
        started,
        failed,
        ...(latencyMs ? { latency: latencyMs } : {}),
        ...(late ? { late: { p99: late.p99, max: late.max } } : {}),
    };
}

function faultOutcome(report: Report, faultAt: number, rate: number): FaultOutcome {
    const after = report.failures.filter(({ failedAt }) => failedAt >= faultAt);
    const times = after.map(({ failedAt }) => Math.round((failedAt - faultAt) * 10) / 10);
    const [first, last] = [times.reduce(least, Number.POSITIVE_INFINITY), times.reduce(most, 0)];
    const lastStart = after.map(({ startedAt }) => startedAt - faultAt).reduce(most, Number.NEGATIVE_INFINITY);
    const errors: Record<string, number> = {};
    for (const { error } of after) {
        // Without addresses and times, which would tell equal errors apart.
        const what = error.split(" (")[0] as string;
        errors[what] = (errors[what] ?? 0) + 1;
    }
    return {
        rate,
        ...outcomeOf(report),
        failed: after.length,
        failedBefore: report.failed - after.length,
        outageMs: after.length === 0 ? 0 : Math.round((last - first) * 10) / 10,
        ...(after.length === 0
            ? {}
            : { firstMs: first, lastMs: last, lastStartMs: Math.round(lastStart * 10) / 10, errors }),
    };
}

const least = (a: number, b: number) => Math.min(a, b);
const most = (a: number, b: number) => Math.max(a, b);
const now = () => performance.timeOrigin + performance.now();
const pause = ({ signal: ended }: TrialContext, milliseconds: number) =>
    delay(Math.max(0, milliseconds), undefined, { signal: ended });
