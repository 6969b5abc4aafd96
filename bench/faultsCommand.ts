/**
 * `npm run bench:faults`: injects one fault after the other into the deployment that runs on this computer, under load.
 * It prints the effect on calls and the time to recovery. It fails only when the deployment does not recover.
 */

import { appendFileSync, mkdirSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
import { UserError } from "../engine/stack";
import { gatewayHome } from "../lib/home";
import { heading, runCommand, say } from "../scripts/console";
import { waitUntilSettled } from "./deploymentRecovery";
import { type Fault, faults } from "./faultInjection";
import { type ClientCalls, type FaultTrialResult, runFaultTrial } from "./faultTrial";
import { benchHome, type Deployment, readDeployment } from "./localDeployment";

const PROJECT = resolve(__dirname, "..");
/** How long to wait for a deployment that was there before, milliseconds. Someone may be redeploying it. */
const AWAY_MS = 60_000;

interface Options {
    readonly out: string;
    readonly repeat: number;
    readonly only?: readonly string[];
    readonly list?: true;
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
    const chosen = choose(options.only);
    if (options.list) {
        for (const fault of faults) console.log(`${fault.name.padEnd(16)} ${fault.description}`);
        return;
    }
    const home = benchHome(gatewayHome(PROJECT));
    readDeployment(home);
    const out = resolve(options.out);
    mkdirSync(dirname(out), { recursive: true });

    const outcomes: FaultTrialResult[] = [];
    for (let trial = 0; trial < options.repeat; trial++) {
        for (const [index, fault] of chosen.entries()) {
            const done = trial * chosen.length + index;
            say(`[${done + 1}/${options.repeat * chosen.length}] ${fault.name}: waiting for a healthy deployment`);
            const deployment = await deployed(() => readDeployment(home), signal);
            await waitUntilSettled(deployment, signal);
            const outcome = await runFaultTrial(deployment, fault, trial, signal, say);
            outcomes.push(outcome);
            appendFileSync(out, `${JSON.stringify(outcome)}\n`);
            say(summary(outcome));
        }
    }
    heading('Times count from the fault. "failed starts": when the failed calls were due to start.');
    console.log(table(outcomes));
    console.log(`\nAll failed calls are in ${relative(process.cwd(), out)}`);
    const lost = outcomes.filter((outcome) => outcome.recoveredMs === undefined);
    if (lost.length > 0) {
        throw new UserError(
            lost.map(({ fault, problems }) => `no recovery from ${fault}: ${problems.join("; ")}`).join("\n"),
        );
    }
}

/** @throws UserError when a name is unknown. */
function choose(names: readonly string[] | undefined): readonly Fault[] {
    const unknown = names?.filter((name) => !faults.some((fault) => fault.name === name)) ?? [];
    if (unknown.length > 0) throw new UserError(`No such fault: ${unknown.join(", ")}. --list shows the names.`);
    return faults.filter((fault) => names?.includes(fault.name) ?? true);
}

async function deployed(read: () => Deployment, signal: AbortSignal): Promise<Deployment> {
    const deadline = Date.now() + AWAY_MS;
    for (;;) {
        try {
            return read();
        } catch (error) {
            if (Date.now() > deadline) throw error;
            await delay(500, undefined, { signal });
        }
    }
}

function summary({ raw, retrying, recoveredMs, problems }: FaultTrialResult): string {
    const end =
        recoveredMs === undefined ? `no recovery: ${problems.join("; ")}` : `recovered after ${seconds(recoveredMs)} s`;
    return `  failed: raw ${raw.failed} of ${raw.made}, retrying ${retrying.failed} of ${retrying.made}; ${end}`;
}

const seconds = (ms: number) => (ms / 1000).toFixed(1);

/** The columns of the table, each with the text of its cells. */
const columns: readonly (readonly [string, (outcome: FaultTrialResult) => string])[] = [
    ["fault", ({ fault }) => fault],
    ["victim", ({ target }) => target],
    ["raw failed", ({ raw }) => failed(raw)],
    ["first to last", ({ raw }) => (raw.failed > 0 ? `${raw.outageMs} ms` : "-")],
    ["failed starts", ({ raw }) => starts(raw)],
    ["retrying failed", ({ retrying }) => failed(retrying)],
    ["unused after", ({ unusedMs }) => (unusedMs === undefined ? "-" : `${unusedMs} ms`)],
    ["decided", ({ decidedMs }) => (decidedMs === undefined ? "-" : `${seconds(decidedMs)} s`)],
    [
        "recovered in",
        ({ decidedMs, recoveredMs }) =>
            decidedMs === undefined || recoveredMs === undefined ? "-" : `${seconds(recoveredMs - decidedMs)} s`,
    ],
    ["in all", ({ recoveredMs }) => (recoveredMs === undefined ? "never" : `${seconds(recoveredMs)} s`)],
];

function failed({ failed, made, failedBefore }: ClientCalls): string {
    return `${failed}/${made}${failedBefore > 0 ? ` (+${failedBefore} before)` : ""}`;
}

function starts({ failures }: ClientCalls): string {
    if (failures.length === 0) return "-";
    const started = failures.map((failure) => Math.round(failure.startedMs));
    return `${Math.min(...started)} to ${Math.max(...started)} ms`;
}

function table(outcomes: readonly FaultTrialResult[]): string {
    const rows = [
        columns.map(([name]) => name),
        ...outcomes.map((outcome) => columns.map(([, cell]) => cell(outcome))),
    ];
    const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
    return rows
        .map((row) =>
            row
                .map((cell, index) => cell.padEnd(widths[index] ?? 0))
                .join("  ")
                .trimEnd(),
        )
        .join("\n");
}

function positive(text: string): number {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1)
        throw new InvalidArgumentError("It must be a whole number, at least 1.");
    return number;
}

const options = new Command("bench:faults")
    .description("Injects faults into the deployment on this computer, under load, and measures their effect.")
    .option("--only <names>", "only these faults, separated by commas", (names) => names.split(","))
    .option("--repeat <n>", "number of times to inject each fault", positive, 1)
    .option("--out <file>", "file to append the results to, as JSON lines", "bench/results/faults.jsonl")
    .option("--list", "list the faults and exit")
    .parse()
    .opts<Options>();

void runCommand((signal) => run(options, signal), "The fault is undone; the deployment recovers by itself.");
