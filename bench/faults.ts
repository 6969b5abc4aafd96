/**
 * `npm run bench:faults`: makes one fault after the other in the deployment that runs on this computer, under load,
 * and prints what each did to the calls and how long the deployment took to be whole again. The figures are for
 * reading; only a recovery that does not happen makes it fail.
 */

import { appendFileSync, mkdirSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
import { gatewayHome } from "../components/local/home";
import { heading, runCommand, say } from "../scripts/console";
import { UserError } from "../scripts/engine";
import { benchHome, type Deployment, readDeployment } from "./deployment";
import { type Fault, faults } from "./injections";
import { untilSettled } from "./settled";
import { type Calls, type Outcome, runTrial } from "./trial";

const PROJECT = resolve(__dirname, "..");
/** How long a deployment that was there may be away, milliseconds: somebody may be deploying it anew. */
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
        for (const fault of faults) console.log(`${fault.name.padEnd(16)} ${fault.what}`);
        return;
    }
    const home = benchHome(gatewayHome(PROJECT));
    readDeployment(home);
    const out = resolve(options.out);
    mkdirSync(dirname(out), { recursive: true });

    const outcomes: Outcome[] = [];
    for (let trial = 0; trial < options.repeat; trial++) {
        for (const [index, fault] of chosen.entries()) {
            const done = trial * chosen.length + index;
            say(`[${done + 1}/${options.repeat * chosen.length}] ${fault.name}: waiting for a whole deployment`);
            const deployment = await deployed(() => readDeployment(home), signal);
            await untilSettled(deployment, signal);
            const outcome = await runTrial(deployment, fault, trial, signal, say);
            outcomes.push(outcome);
            appendFileSync(out, `${JSON.stringify(outcome)}\n`);
            say(summary(outcome));
        }
    }
    heading("Milliseconds count from the fault; failed calls: by when they were meant to start");
    console.log(table(outcomes));
    console.log(`\nEvery failed call is in ${relative(process.cwd(), out)}`);
    const lost = outcomes.filter((outcome) => outcome.recoveredMs === undefined);
    if (lost.length > 0) {
        throw new UserError(
            lost.map(({ fault, problems }) => `no recovery from ${fault}: ${problems.join("; ")}`).join("\n"),
        );
    }
}

/** @throws UserError when there is no fault of a name. */
function choose(names: readonly string[] | undefined): readonly Fault[] {
    const unknown = names?.filter((name) => !faults.some((fault) => fault.name === name)) ?? [];
    if (unknown.length > 0) throw new UserError(`no such fault: ${unknown.join(", ")}; --list shows them`);
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

function summary({ raw, retrying, recoveredMs, problems }: Outcome): string {
    const end =
        recoveredMs === undefined ? `not whole: ${problems.join("; ")}` : `whole after ${seconds(recoveredMs)} s`;
    return `  failed: raw ${raw.failed} of ${raw.made}, retrying ${retrying.failed} of ${retrying.made}; ${end}`;
}

const seconds = (ms: number) => (ms / 1000).toFixed(1);

/** The columns of the table. */
const columns: readonly (readonly [string, (outcome: Outcome) => string])[] = [
    ["fault", ({ fault }) => fault],
    ["victim", ({ target }) => target],
    ["raw failed", ({ raw }) => failed(raw)],
    ["first to last", ({ raw }) => (raw.failed > 0 ? `${raw.outageMs} ms` : "-")],
    ["failed starts", ({ raw }) => starts(raw)],
    ["retrying failed", ({ retrying }) => failed(retrying)],
    ["unused after", ({ unusedMs }) => (unusedMs === undefined ? "-" : `${unusedMs} ms`)],
    ["decided", ({ decidedMs }) => (decidedMs === undefined ? "-" : `${seconds(decidedMs)} s`)],
    [
        "then whole in",
        ({ decidedMs, recoveredMs }) =>
            decidedMs === undefined || recoveredMs === undefined ? "-" : `${seconds(recoveredMs - decidedMs)} s`,
    ],
    ["whole after", ({ recoveredMs }) => (recoveredMs === undefined ? "never" : `${seconds(recoveredMs)} s`)],
];

function failed({ failed, made, failedBefore }: Calls): string {
    return `${failed}/${made}${failedBefore > 0 ? ` (+${failedBefore} before)` : ""}`;
}

function starts({ failures }: Calls): string {
    if (failures.length === 0) return "-";
    const started = failures.map((failure) => Math.round(failure.startedMs));
    return `${Math.min(...started)} to ${Math.max(...started)} ms`;
}

function table(outcomes: readonly Outcome[]): string {
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
    if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError("it has to be a number from 1 on");
    return number;
}

const options = new Command("bench:faults")
    .description("makes faults in the deployment on this computer, under load, and measures them")
    .option("--only <names>", "only these faults, separated by commas", (names) => names.split(","))
    .option("--repeat <n>", "times to make each fault", positive, 1)
    .option("--out <file>", "where JSON lines are appended", "bench/results/faults.jsonl")
    .option("--list", "show the faults and end")
    .parse()
    .opts<Options>();

void runCommand((signal) => run(options, signal), "What it did is taken back; the deployment recovers by itself.");
