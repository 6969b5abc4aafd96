/** A run of the comparison: what is left of its plan, trial by trial, each written down before the next begins. */
import { cpus, release, totalmem } from "node:os";
import { median } from "simple-statistics";
import { heading, say } from "../scripts/console";
import { UserError } from "../scripts/engine";
import { versions } from "../scripts/tools/manifest";
import { measureCeiling } from "./ceiling";
import { Generator } from "./load/generator";
import {
    type Block,
    type Mix,
    only,
    type Profile,
    planBlocks,
    remaining,
    stackVariants,
    type Trial,
    trialKey,
} from "./matrix";
import { type Bench, measure, measurePool } from "./measure";
import { isIsolated, reconnect, whyNoCut } from "./network";
import { estimate, Progress } from "./progress";
import {
    append,
    type BenchRecord,
    isDisturbed,
    isTrial,
    type RunRecord,
    readRecords,
    runOf,
    type TrialRecord,
} from "./records";
import { ensureStageTools, Stage, stacks } from "./stage";

/** What to run. */
export interface RunOptions {
    readonly profile: Profile;
    readonly seed: number;
    /** The journal. */
    readonly out: string;
    /** Where deployments are kept. */
    readonly stages: string;
    /** Only trials with such names, and the saturation that their rates follow from. Default: all. */
    readonly only?: RegExp;
    /** End after this many minutes, at the end of a trial; the next run goes on. Default: not before all is done. */
    readonly minutes?: number;
}

/** Gateways of a deployment, unless the cost of a pool is measured. */
const GATEWAYS = 2;
/** A trial that fails is tried so often; then it is left out, and the next run tries it again. */
const TRIES = 2;

/** Runs what is left. @returns whether everything is done. */
export async function run(options: RunOptions, signal: AbortSignal): Promise<boolean> {
    const { profile, seed, out } = options;
    const deadline = performance.now() + (options.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
    const records = readRecords(out);
    const noHostLoss = whyNoCut();
    if (!runOf(out, records, { profile: profile.name, seed })) {
        const first = runRecord(profile, seed, noHostLoss);
        append(out, first);
        records.push(first);
    }
    if (noHostLoss) say(`host-loss is not measured: ${noHostLoss}`);
    if (!isIsolated()) say("no network namespace can be made here: the benchmark runs in this computer's own");

    const planned = planBlocks(profile, seed);
    const plan = (options.only ? only(planned, options.only) : planned).map((block) => ({
        ...block,
        trials: block.trials.filter(({ cell }) => !(noHostLoss && cell.kind === "fault" && cell.fault === "host-loss")),
    }));
    const done = new Set(records.filter(isTrial).map(trialKey));
    const left = remaining(plan, done);
    const progress = new Progress(left);
    say(`${done.size} measurements are done, ${progress.left} are left: about ${progress.timeLeft()}`);
    if (progress.left === 0) return true;

    await ensureStageTools(say);
    reconnect();
    const made = new Map(stacks.map((stack) => [stack, new Stage(stack, options.stages, profile.pool)]));
    for (const { stage } of left) await made.get(stage)?.install(say, signal);
    if (!records.some(({ kind }) => kind === "ceiling")) {
        for (const record of await measureCeiling(profile.seconds, signal)) keep(out, records, record);
    }

    const generator = new Generator();
    try {
        for (const block of left) {
            const more = await runBlock(block, made.get(block.stage) as Stage, {
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
        reconnect();
        await Promise.all([...made.values()].map((stage) => stage.powerOff()));
    }
}

interface Course {
    readonly generator: Generator;
    readonly options: RunOptions;
    readonly records: BenchRecord[];
    readonly progress: Progress;
    readonly signal: AbortSignal;
    /** On the clock of `performance.now()`. */
    readonly deadline: number;
}

/** @returns whether there is time for more. @throws Error when the stage cannot be booted. */
async function runBlock(block: Block, stage: Stage, course: Course): Promise<boolean> {
    const { generator, options, records, progress, signal, deadline } = course;
    heading(`${block.stage}: booting`);
    let gateways = GATEWAYS;
    let deployment = await stage.boot(gateways, signal);
    const bench = (): Bench => ({
        deployment,
        generator,
        signal,
        seed: options.seed,
        seconds: options.profile.seconds,
        saturation: (mix) => slowestSaturation(records, mix),
    });
    const make = async (trial: Trial): Promise<TrialRecord> => {
        if (trial.cell.kind !== "pool") return measure(bench(), trial);
        const begun = performance.now();
        gateways = trial.cell.size;
        deployment = await stage.grow(gateways, signal);
        return measurePool(bench(), trial, performance.now() - begun);
    };
    try {
        for (const trial of block.trials) {
            if (performance.now() + estimate(trial) * 1000 > deadline) {
                say(`the time is over; ${progress.left} measurements are left`);
                return false;
            }
            const begun = performance.now();
            for (let attempt = 1; ; attempt++) {
                try {
                    const record = await make(trial);
                    if (isDisturbed(record) && !isCourse(record) && attempt < TRIES) {
                        say(`  ${trialKey(trial)}: something else kept the generator from its schedule; once more`);
                        continue;
                    }
                    keep(options.out, records, record);
                    progress.done(trial, (performance.now() - begun) / 1000);
                    say(`${progress.line()} ${trialKey(trial)}: ${inWords(record)}`);
                    if (record.kind === "fault" && record.problems.length > 0) {
                        say(`  not whole again (${record.problems.join("; ")}): it is booted anew`);
                        await stage.powerOff();
                        deployment = await stage.boot(gateways, signal);
                    }
                    break;
                } catch (error) {
                    signal.throwIfAborted();
                    say(`  ${trialKey(trial)} did not work: ${(error as Error).message}`);
                    await stage.powerOff();
                    deployment = await stage.boot(gateways, signal);
                    if (attempt === TRIES) break;
                }
            }
        }
        return true;
    } finally {
        await stage.powerOff();
    }
}

/** Whether machines are booted in the course of a fault, which by itself keeps a small computer busy. */
const isCourse = (record: TrialRecord) => record.kind === "fault" && record.courseMs > 1_000;

function keep(out: string, records: BenchRecord[], record: BenchRecord): void {
    append(out, record);
    records.push(record);
}

/**
 * What the slowest stack can do, calls per second: 100 % of all loads. Of each stack the median of what was measured
 * before any other load was, so that it stays the same for the whole run.
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
    if (!cpu) throw new UserError("this computer does not say what its CPU is");
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

function inWords(record: TrialRecord): string {
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
                `kept ${failed(raw.kept)} in ${raw.kept.outageMs} ms, per call ${failed(raw.perCall)} in ` +
                `${raw.perCall.outageMs} ms, retried ${failed(retried.kept)} and ${failed(retried.perCall)}`
            );
        }
    }
}
