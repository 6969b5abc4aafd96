/** Makes one trial of the comparison on a deployment that is whole. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Runtime } from "../roles/loadBalancer/reconciler/runtime";
import type { ReconcilerStatus } from "../roles/loadBalancer/reconciler/status";
import type { ProcessMachine } from "../roles/render/process";
import { machineDirectory } from "../supervisor/machine";
import { identify, isAlive, signal } from "../supervisor/process";
import { account } from "./accounts";
import { type Deployment, endpointOf, isFabio, pidOf, usedBy } from "./deployment";
import { type Fault, faults, stagedFaults } from "./injections";
import type { Report } from "./load";
import type { Generator, RemoteLoad, RemoteLoadOptions } from "./load/generator";
import { type Cell, type Mix, mixes, phaseOf, type Trial, type Variant, variants } from "./matrix";
import type {
    FaultOutcome,
    FaultRecord,
    LatencyRecord,
    Outcome,
    PoolRecord,
    SaturationRecord,
    TrialRecord,
} from "./records";
import { untilServing, untilSettled, untilWhole } from "./settled";

/** Every call's deadline, milliseconds. */
export const DEADLINE_MS = 1_000;
/** Calls under way in a closed loop. */
export const CONCURRENCY = 32;
/** The most connections that clients keep. Only a server that hangs makes them so many. */
export const CONNECTIONS = 256;
/** Calls per second, for each mix, of the clients that repeat. */
const RETRIED_RATE = 50;
/** Load before anything is measured, and before a fault, milliseconds; the fault's phase within a second is added. */
const WARM_UP_MS = 1_000;
const PHASE_MS = 1_000;
/** How long calls are watched from a fault on where it does not say, milliseconds. */
const WATCH_MS = 4_000;
/** The load under which pools of all sizes are compared: calls per second, kept connections. */
const POOL_RATE = 500;
/** How often it is looked at whom the balancer uses, milliseconds. */
const LOOK_MS = 50;

/** What a trial needs. */
export interface Bench {
    readonly deployment: Deployment;
    readonly generator: Generator;
    readonly seed: number;
    /** How long latency and saturation are measured, seconds. */
    readonly seconds: number;
    /** 100 % of the slowest stack's saturation, calls per second. @throws Error before it was measured. */
    readonly saturation: (mix: Mix) => number;
    readonly signal: AbortSignal;
}

/** Makes a trial, other than one of a pool. @throws Error when there is no victim, or the deployment does not recover. */
export async function measure(bench: Bench, trial: Trial): Promise<TrialRecord> {
    const { cell } = trial;
    const variant = variants.get(cell.variant) as Variant;
    switch (cell.kind) {
        case "saturation":
            return saturate(bench, variant, cell, trial.repeat);
        case "latency":
            return latency(bench, variant, cell, trial.repeat);
        case "fault":
            return fault(bench, variant, cell, trial);
        case "pool":
            throw new Error("a pool is measured by measurePool");
    }
}

type Of<K extends Cell["kind"]> = Extract<Cell, { kind: K }>;

/** Whom clients of a variant call, and how. */
function target({ deployment }: Bench, variant: Variant): Pick<RemoteLoadOptions, "addresses" | "spread"> {
    return variant.without === "balancer"
        ? { addresses: deployment.gateways.map((gateway) => endpointOf(gateway, "gateway")), spread: true }
        : { addresses: deployment.balancers.map((balancer) => endpointOf(balancer, "balancer")) };
}

async function saturate(
    bench: Bench,
    variant: Variant,
    cell: Of<"saturation">,
    repeat: number,
): Promise<SaturationRecord> {
    const options = {
        ...target(bench, variant),
        connection: cell.mix,
        concurrency: CONCURRENCY,
        deadlineMs: DEADLINE_MS,
    };
    await whileCalling([await bench.generator.saturate(options)], () => pause(bench, WARM_UP_MS));
    const at = new Date().toISOString();
    const load = await bench.generator.saturate(options);
    const ended = account(bench.deployment, bench.generator.pid);
    const { reports, result } = await whileCalling([load], async () => {
        await pause(bench, bench.seconds * 1000);
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
        ...(report.latencyMs ? { latency: report.latencyMs } : {}),
        ...result,
    };
}

async function latency(bench: Bench, variant: Variant, cell: Of<"latency">, repeat: number): Promise<LatencyRecord> {
    const rate = Math.round((bench.saturation(cell.mix) * cell.load) / 100);
    const { at, report, result } = await steady(bench, { ...target(bench, variant), ...raw(cell.mix, rate) });
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
    connections: CONNECTIONS,
    deadlineMs: DEADLINE_MS,
    ratePerSecond,
});

/** A load without a fault, warmed up. */
async function steady(bench: Bench, options: RemoteLoadOptions) {
    const { generator, deployment } = bench;
    await whileCalling([await generator.start(options)], () => pause(bench, WARM_UP_MS));
    const at = new Date().toISOString();
    const load = await generator.start(options);
    const ended = account(deployment, generator.pid);
    const { reports, result } = await whileCalling([load], async () => {
        await pause(bench, bench.seconds * 1000);
        return ended();
    });
    return { at, report: reports[0] as Report, result };
}

/**
 * Measures what a pool costs, on a deployment of its size.
 *
 * @param bootMs how long the last gateways took to get calls.
 */
export async function measurePool(bench: Bench, trial: Trial, bootMs: number): Promise<PoolRecord> {
    const cell = trial.cell as Of<"pool">;
    const ended = account(bench.deployment, bench.generator.pid);
    await pause(bench, bench.seconds * 1000);
    const idle = ended().parts;
    const variant = variants.get(cell.variant) as Variant;
    const { at, report, result } = await steady(bench, { ...target(bench, variant), ...raw("kept", POOL_RATE) });
    const loaded = { rate: POOL_RATE, outcome: outcomeOf(report), parts: result.parts };
    return { kind: "pool", cell, repeat: trial.repeat, at, bootMs: Math.round(bootMs), idle, loaded };
}

async function fault(bench: Bench, variant: Variant, cell: Of<"fault">, trial: Trial): Promise<FaultRecord> {
    const { deployment, generator } = bench;
    const found = [...stagedFaults, ...faults].find(({ name }) => name === cell.fault);
    if (!found) throw new Error(`there is no fault ${cell.fault}`);
    await untilServing(deployment, bench.signal);
    const strike = await found.prepare(deployment, trial.repeat);
    // Who loses a gateway loses its share of the calls, so that has to be a whole one.
    if (strike.gateway) await untilSettled(deployment, bench.signal);
    const restore = await takeAway(bench, variant);
    try {
        process.on("exit", strike.undo);
        const slots = slotsOf(deployment);
        const half = (mix: Mix) => Math.round((bench.saturation(mix) * cell.load) / 200);
        const once = mixes.map((mix) => ({ ...target(bench, variant), ...raw(mix, half(mix)) }));
        const repeated = mixes.map((mix) => {
            const { addresses } = target(bench, variant);
            return { addresses, ...raw(mix, RETRIED_RATE), connections: 4, raw: false };
        });
        const loads: RemoteLoad[] = [];
        for (const options of [...once, ...repeated]) loads.push(await generator.start(options));
        try {
            const { reports, result } = await whileCalling(loads, async () => {
                await pause(bench, WARM_UP_MS + PHASE_MS * phaseOf(trial, bench.seed));
                return watched(bench, found, strike);
            });
            const { faultAt } = result;
            strike.undo();
            await strike.mend?.();
            await restore();
            const { wholeAt, amiss } = await untilWhole(deployment, () => strike.isBack(), bench.signal);
            const after = slotsOf(deployment);
            const outcomes = reports.map((report, index) =>
                faultOutcome(report, faultAt, [...once, ...repeated][index]?.ratePerSecond ?? 0),
            ) as [FaultOutcome, FaultOutcome, FaultOutcome, FaultOutcome];
            return {
                kind: "fault",
                cell,
                repeat: trial.repeat,
                at: new Date(faultAt).toISOString(),
                target: strike.target,
                raw: { kept: outcomes[0], perCall: outcomes[1] },
                retried: { kept: outcomes[2], perCall: outcomes[3] },
                ...(result.unusedMs === undefined ? {} : { unusedMs: result.unusedMs }),
                courseMs: result.courseMs,
                ...(wholeAt === undefined ? {} : { wholeMs: Math.max(0, Math.round(wholeAt - result.endedAt)) }),
                ...(result.fewestUsed === undefined ? {} : { fewestUsed: result.fewestUsed }),
                ...(cell.fault === "balancer" && slots && after ? { sameSlots: slots === after } : {}),
                problems: amiss,
            };
        } finally {
            strike.undo();
            process.off("exit", strike.undo);
            await strike.mend?.();
        }
    } finally {
        await restore();
    }
}

type Strike = Awaited<ReturnType<Fault["prepare"]>>;

/** Makes the fault, and watches for as long as it says. */
async function watched(bench: Bench, { watchMs = WATCH_MS }: Fault, strike: Strike) {
    const { deployment } = bench;
    const done = new AbortController();
    const look = usage(deployment, strike.gateway, done.signal);
    const faultAt = now();
    const undone = strike.undoAfterMs === undefined ? undefined : later(strike.undoAfterMs, strike.undo, done.signal);
    try {
        await strike.strike();
        const courseMs = Math.round(now() - faultAt);
        // What was a course of events is watched for so long after its end.
        await pause(bench, courseMs < 1_000 ? watchMs - courseMs : Math.min(watchMs, 2_000));
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

async function later(afterMs: number, work: () => void, ended: AbortSignal): Promise<void> {
    await delay(afterMs, undefined, { signal: ended }).catch(() => undefined);
    work();
}

/** When the called balancer was first seen not to use the victim, and how few gateways it used. */
async function usage(deployment: Deployment, victim: ProcessMachine | undefined, ended: AbortSignal) {
    const balancer = deployment.balancers[0] as ProcessMachine;
    let unusedAt: number | undefined;
    let fewestUsed: number | undefined;
    while (!ended.aborted) {
        const used = await usedBy(balancer);
        if (used) {
            const count = deployment.gateways.filter((gateway) => used.has(gateway.address)).length;
            fewestUsed = Math.min(fewestUsed ?? count, count);
            if (victim && !used.has(victim.address)) unusedAt ??= now();
        }
        await delay(LOOK_MS, undefined, { signal: ended }).catch(() => undefined);
    }
    return { unusedAt, fewestUsed };
}

/** Takes away what a variant is without. @returns what gives it back; harmless when repeated. */
async function takeAway({ deployment }: Bench, { without }: Variant): Promise<() => Promise<void>> {
    const balancer = deployment.balancers[0] as ProcessMachine;
    if (without === "discovery") {
        const agent = isFabio(balancer) ? "consul" : "consul-template";
        const process = identify(pidOf(deployment, balancer, agent) ?? 0);
        if (!process) throw new Error(`${agent} of ${balancer.name} does not run`);
        signal(process.pid, "SIGSTOP");
        return async () => {
            if (isAlive(process)) signal(process.pid, "SIGCONT");
        };
    }
    if (without === "checks") {
        const runtime = new Runtime(join(machineDirectory(deployment.home, balancer.name), "run/haproxy.sock"));
        const slots = Object.keys(JSON.parse(slotsOf(deployment) ?? "{}") as Record<string, string>);
        for (const slot of slots) await runtime.order(`disable health gateways/${slot}`);
        return async () => {
            for (const slot of slots) await runtime.order(`enable health gateways/${slot}`);
        };
    }
    return async () => undefined;
}

/** Which gateway is in which of HAProxy's slots, as JSON; undefined with Fabio. */
function slotsOf({ home, balancers }: Deployment): string | undefined {
    const balancer = balancers[0] as ProcessMachine;
    if (isFabio(balancer)) return undefined;
    const path = join(machineDirectory(home, balancer.name), "run/reconciler.json");
    const { slots } = JSON.parse(readFileSync(path, "utf8")) as ReconcilerStatus;
    return JSON.stringify(Object.fromEntries(Object.entries(slots).sort()));
}

/** Loads go on while something is done; then what became of the calls. Whatever happens, the loads have stopped then. */
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

function outcomeOf({ started, failed, latencyMs, late }: Report): Outcome {
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
        // Addresses and times would make each of them another.
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
const pause = ({ signal: ended }: Bench, milliseconds: number) =>
    delay(Math.max(0, milliseconds), undefined, { signal: ended });
