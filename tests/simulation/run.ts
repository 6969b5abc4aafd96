/**
 * `npm run simulate -- --schedules 1000 --seed 1`: simulates the replacement loop and prints what came of it. A schedule
 * that breaks a rule is made as small as it can be; `--path`, as it is printed then, replays it with the loop's journal.
 */
import { Command } from "commander";
import * as fc from "fast-check";
import { renderEntry } from "../../replacement/report";
import { type Result, type Schedule, schedules, simulate } from "./simulate";

function whole(text: string): number {
    const number = Number(text);
    if (!Number.isSafeInteger(number)) throw new Error(`"${text}" is not a whole number`);
    return number;
}

async function main(): Promise<void> {
    const options = new Command("simulate")
        .option("--schedules <n>", "how many", whole, 1000)
        .option("--seed <n>", "of chance", whole, 1)
        .option("--path <path>", "only this schedule, as printed for one that broke a rule")
        .parse()
        .opts<{ schedules: number; seed: number; path?: string }>();
    const started = process.cpuUsage();
    const total = { schedules: 0, seconds: 0, runs: 0, crashes: 0, epochs: 0, whole: 0, expected: 0 };
    const keepsRules = fc.asyncProperty(schedules(), async (schedule: Schedule) => {
        const result: Result = await simulate(schedule, options.path === undefined ? {} : { journal: told });
        total.schedules++;
        for (const key of ["runs", "crashes", "epochs", "seconds"] as const) total[key] += result[key];
        total.whole += Number(result.whole);
        total.expected += Number(result.expected);
        if (result.broken.length > 0) throw new Error(result.broken.join("\n"));
    });
    const outcome = await fc.check(keepsRules, {
        numRuns: options.path === undefined ? options.schedules : 1,
        seed: options.seed,
        ...(options.path === undefined ? {} : { path: options.path, endOnFailure: true }),
    });
    const { user, system } = process.cpuUsage(started);
    console.log(
        `schedules           ${total.schedules} (seed ${options.seed}, ${((user + system) / 1e6).toFixed(1)} s of CPU)`,
    );
    console.log(`simulated time      ${(total.seconds / 3600).toFixed(1)} h`);
    console.log(`replacements        ${total.runs}`);
    console.log(`leaders             ${total.epochs}`);
    console.log(`daemons killed      ${total.crashes}`);
    console.log(`pools whole         ${total.whole} at the end; ${total.expected} had to be`);
    console.log(`broken invariants   ${outcome.failed ? 1 : 0}`);
    if (!outcome.failed) return;
    process.exitCode = 1;
    const error = outcome.errorInstance instanceof Error ? outcome.errorInstance.message : "";
    console.log(`\n${error}\n${JSON.stringify(outcome.counterexample?.[0], null, 1)}`);
    console.log(`replay: npm run simulate -- --seed ${outcome.seed} --path ${outcome.counterexamplePath}`);
}

function told(entry: Parameters<typeof renderEntry>[0], machine: number): void {
    const text = entry.kind === "decision" ? `${entry.decision.reasons.join("; ")}\n` : renderEntry(entry);
    process.stdout.write(`machine ${machine}  ${new Date(entry.time * 1000).toISOString().slice(11, 23)}  ${text}`);
}

void main();
