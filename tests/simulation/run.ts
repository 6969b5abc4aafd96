/** `tsx tests/simulation/run.ts --schedules 1000 --seed 1`: simulates the replacement loop and prints what came of it. */
import { Command } from "commander";
import * as fc from "fast-check";
import { type Schedule, schedules, simulate } from "./simulate";

async function main(): Promise<void> {
    const options = new Command("simulate")
        .option("--schedules <n>", "how many", Number, 1000)
        .option("--seed <n>", "of chance", Number, 1)
        .parse()
        .opts<{ schedules: number; seed: number }>();
    const started = process.hrtime.bigint();
    const total = { runs: 0, crashes: 0, whole: 0, expected: 0 };
    const failures: { schedule: Schedule; broken: readonly string[] }[] = [];
    for (const schedule of fc.sample(schedules(), { numRuns: options.schedules, seed: options.seed })) {
        const result = await simulate(schedule);
        total.runs += result.runs;
        total.crashes += result.crashes;
        total.whole += Number(result.whole);
        total.expected += Number(result.expected);
        if (result.broken.length > 0) failures.push({ schedule, broken: result.broken });
    }
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    console.log(`schedules           ${options.schedules} (seed ${options.seed}, ${seconds.toFixed(1)} s)`);
    console.log(`replacements        ${total.runs}`);
    console.log(`crashes of the loop ${total.crashes}`);
    console.log(`pools whole         ${total.whole} at the end; ${total.expected} had to be`);
    console.log(`broken invariants   ${failures.length}`);
    for (const failure of failures.slice(0, 5)) console.log(JSON.stringify(failure, null, 1));
    if (failures.length > 0) process.exitCode = 1;
}

void main();
