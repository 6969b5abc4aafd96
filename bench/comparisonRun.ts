/** A run of the comparison: one trial after the other. The journal gets each result before the next trial begins. */
import { cpus, release, totalmem } from "node:os";
import { median } from "simple-statistics";
import { UserError } from "../engine/stack";
import { LoadGenerator } from "../gateway-sample/load/generator";
import { heading, say } from "../scripts/console";
import { versions } from "../toolchain/manifest";
import { BenchmarkDeployment } from "./benchmarkDeployment";
import {
    appendRecord,
    type BenchRecord,
    isDisturbed,
    isTrialRecord,
    type RunRecord,
    readRecords,
    resumedRun,
    type TrialRecord,
} from "./benchRecords";
import { measurePool, measureTrial, type TrialContext } from "./comparisonTrial";
import { measureCeiling } from "./generatorCeiling";
import { inOwnNamespace, reconnectAll, whyNoCutOff } from "./networkNamespace";
import { expectedSeconds, RunProgress } from "./runProgress";
import {
    comparedStacks,
    type Mix,
    type Profile,
    planBlocks,
    remainingTrials,
    selectTrials,
    stackVariants,
    type Trial,
    type TrialBlock,
    trialKey,
} from "./trialMatrix";

/** How to run the comparison. */
export interface ComparisonOptions {
    readonly profile: Profile;
    readonly seed: number;
    /** The journal. */
    readonly out: string;
    /** Folder of the deployments. */
    readonly deployments: string;
    /** Run only trials with matching names, and the saturation that their rates derive from. Default: all. */
    readonly only?: RegExp;
    /** Stop after the trial that exceeds this many minutes; the next run continues. Default: no limit. */
    readonly minutes?: number;
}

/** Gateways of a deployment, except in trials of a pool. */
const GATEWAYS = 2;
/** Attempts at a failing trial. After the last one the run skips it, and the next run tries it again. */
const TRIES = 2;

/** Runs the trials that are left, with installed tools. @returns whether all are done. */
export async function runComparison(options: ComparisonOptions, signal: AbortSignal): Promise<boolean> {
    const { profile, seed, out } = options;
    const deadline = performance.now() + (options.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
    const records = readRecords(out);
    const noHostLoss = whyNoCutOff();
    if (!resumedRun(out, records, { profile: profile.name, seed })) {
        const first = runRecord(profile, seed, noHostLoss);
        appendRecord(out, first);
        records.push(first);
    }
    if (noHostLoss) say(`Skipping the fault host-loss: ${noHostLoss}.`);
    if (!inOwnNamespace()) say("Cannot create a network namespace: the benchmark uses this computer's own.");

    const planned = planBlocks(profile, seed);
    const plan = (options.only ? selectTrials(planned, options.only) : planned).map((block) => ({
        ...block,
        trials: block.trials.filter(({ cell }) => !(noHostLoss && cell.kind === "fault" && cell.fault === "host-loss")),
    }));
    const done = new Set(records.filter(isTrialRecord).map(trialKey));
    const left = remainingTrials(plan, done);
    const progress = new RunProgress(left);
    say(`${done.size} trials done, ${progress.left} left, about ${progress.timeLeft()}`);
    if (progress.left === 0) return true;

    reconnectAll();
    const installed = new Map(
        comparedStacks.map((stack) => [stack, new BenchmarkDeployment(stack, options.deployments, profile.pool)]),
    );
    for (const { stack } of left) await installed.get(stack)?.install(say, signal);
    if (!records.some(({ kind }) => kind === "ceiling")) {
        for (const record of await measureCeiling(profile.seconds, signal)) keep(out, records, record);
    }

    const generator = new LoadGenerator();
    try {
        for (const block of left) {
            const more = await runBlock(block, installed.get(block.stack) as BenchmarkDeployment, {
                generator,
                options,
                records,
                progress,
                signal,
                deadline,
            });
            if (!more) return false;
        }
        return progress.left === 0;
    } finally {
        await generator.close();
        reconnectAll();
        await Promise.all([...installed.values()].map((benchmarkDeployment) => benchmarkDeployment.powerOff()));
    }
}

interface RunState {
    readonly generator: LoadGenerator;
    readonly options: ComparisonOptions;
    readonly records: BenchRecord[];
    readonly progress: RunProgress;
    readonly signal: AbortSignal;
    /** On the clock of `performance.now()`. */
    readonly deadline: number;
}

/** @returns whether there is time for more. @throws Error when the deployment does not boot. */
async function runBlock(
    block: TrialBlock,
    benchmarkDeployment: BenchmarkDeployment,
    state: RunState,
): Promise<boolean> {
    const { generator, options, records, progress, signal, deadline } = state;
    heading(`${block.stack}: booting`);
    let gateways = GATEWAYS;
    let deployment = await benchmarkDeployment.boot(gateways, signal);
    const context = (): TrialContext => ({
        deployment,
        generator,
        signal,
        seed: options.seed,
        seconds: options.profile.seconds,
        saturation: (mix) => slowestSaturation(records, mix),
    });
    const make = async (trial: Trial): Promise<TrialRecord> => {
        if (trial.cell.kind !== "pool") return measureTrial(context(), trial);
        const begun = performance.now();
        gateways = trial.cell.size;
        deployment = await benchmarkDeployment.grow(gateways, signal);
        return measurePool(context(), trial, performance.now() - begun);
    };
    try {
        for (const trial of block.trials) {
            if (performance.now() + expectedSeconds(trial) * 1000 > deadline) {
                say(`Out of time; ${progress.left} trials left.`);
                return false;
            }
            const begun = performance.now();
            for (let attempt = 1; ; attempt++) {
                try {
                    const record = await make(trial);
                    if (isDisturbed(record) && !bootsMachines(record) && attempt < TRIES) {
                        say(
                            `  ${trialKey(trial)}: the generator missed its schedule, because the computer is busy; repeating`,
                        );
                        continue;
                    }
                    keep(options.out, records, record);
                    progress.done(trial, (performance.now() - begun) / 1000);
                    say(`${progress.line()} ${trialKey(trial)}: ${describeResult(record)}`);
                    if (record.kind === "fault" && record.problems.length > 0) {
                        say(`  no recovery (${record.problems.join("; ")}); rebooting all machines`);
                        await benchmarkDeployment.powerOff();
                        deployment = await benchmarkDeployment.boot(gateways, signal);
                    }
                    break;
                } catch (error) {
                    signal.throwIfAborted();
                    say(`  ${trialKey(trial)} failed: ${(error as Error).message}`);
                    await benchmarkDeployment.powerOff();
                    deployment = await benchmarkDeployment.boot(gateways, signal);
                    if (attempt === TRIES) break;
                }
            }
        }
        return true;
    } finally {
        await benchmarkDeployment.powerOff();
    }
}

/** Whether a fault boots machines, which alone keeps a small computer busy. */
const bootsMachines = (record: TrialRecord) => record.kind === "fault" && record.courseMs > 1_000;

function keep(out: string, records: BenchRecord[], record: BenchRecord): void {
    appendRecord(out, record);
    records.push(record);
}

/**
 * The saturation of the slowest stack, calls per second: 100 % of all loads. It uses the median of each stack's first
 * measurements, so that it stays the same for the whole run.
 *
 * @throws Error when a stack was not measured.
 */
export function slowestSaturation(records: readonly BenchRecord[], mix: Mix): number {
    const found = stackVariants.map(({ name }) => {
        const measured = records.flatMap((record) =>
            record.kind === "saturation" &&
            record.cell.variant === name &&
            record.cell.mix === mix &&
            record.repeat === 0
                ? [record.perSecond]
                : [],
        );
        if (measured.length === 0) throw new Error(`the saturation of ${name} has not been measured`);
        return median(measured);
    });
    return Math.min(...found);
}

function runRecord(profile: Profile, seed: number, noHostLoss: string | undefined): RunRecord {
    const [cpu] = cpus();
    if (!cpu) throw new UserError("Cannot determine the CPU of this computer.");
    return {
        kind: "run",
        profile: profile.name,
        seed,
        at: new Date().toISOString(),
        host: {
            cpu: cpu.model.trim(),
            cores: cpus().length,
            memoryGib: Math.round(totalmem() / 2 ** 30),
            kernel: release(),
        },
        versions: { node: process.versions.node, ...versions },
        ...(noHostLoss ? { noHostLoss } : {}),
    };
}

function describeResult(record: TrialRecord): string {
    switch (record.kind) {
        case "saturation":
            return `${record.perSecond} calls/s`;
        case "latency":
            return `${record.rate} calls/s, p99 ${record.outcome.latency?.p99.toFixed(2)} ms, ${record.outcome.failed} failed`;
        case "pool":
            return `${record.idle.helpers.mib + record.idle.proxy.mib} MiB on the balancer`;
        case "fault": {
            const { raw, retried } = record;
            const failed = (calls: { readonly failed: number; readonly started: number }) =>
                `${calls.failed}/${calls.started}`;
            return (
                `failed: kept ${failed(raw.kept)} in ${raw.kept.outageMs} ms, per call ${failed(raw.perCall)} in ` +
                `${raw.perCall.outageMs} ms, retried ${failed(retried.kept)} and ${failed(retried.perCall)}`
            );
        }
    }
}
