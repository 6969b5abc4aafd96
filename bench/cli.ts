/** `npm run bench`: the comparison of the three ways to balance; `-- --help` shows what else. */
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { heading, runCommand, say } from "../scripts/console";
import { measureCeiling } from "./ceiling";
import { type Profile, profiles } from "./matrix";
import { isolate } from "./network";
import { report } from "./report";
import { run } from "./run";

const PROJECT = resolve(__dirname, "..");
/** The raw data that the documentation is made from. */
const committed = ["standard.jsonl", "again.jsonl"].map((name) => join(PROJECT, "docs/comparison", name));
const AGAIN = "What was measured is kept; the same command goes on.";

function number(text: string): number {
    const value = Number(text);
    if (!(value > 0)) throw new InvalidArgumentError("it has to be a number above 0");
    return value;
}

function pattern(text: string): RegExp {
    try {
        return new RegExp(text);
    } catch (error) {
        throw new InvalidArgumentError((error as Error).message);
    }
}

const command = new Command("bench")
    .enablePositionalOptions()
    .description("compares the three ways to balance, by load and faults in deployments of its own on this computer")
    .option("--quick", "a look at everything, in five minutes at most")
    .addOption(new Option("--standard", "every fault, with few repeats; about 45 minutes").conflicts("quick"))
    .addOption(
        new Option("--full", "20 repeats of everything; many hours; the default").conflicts(["quick", "standard"]),
    )
    .option("--seed <n>", "of the order and of the faults' phases", number, 1)
    .option("--out <file>", "the journal, which is the raw data; an interrupted run goes on from it")
    .option("--only <pattern>", "only measurements whose names match, such as 'fault/.*/gateway-kill'", pattern)
    .option("--minutes <n>", "end after so long; the next run goes on", number)
    .action((options: { quick?: true; standard?: true; seed: number; out?: string; only?: RegExp; minutes?: number }) =>
        inItsNetwork(async (signal) => {
            const name: Profile["name"] = options.quick ? "quick" : options.standard ? "standard" : "full";
            const out = resolve(options.out ?? join(PROJECT, `bench/results/${name}.jsonl`));
            const done = await run(
                {
                    ...{ profile: profiles[name], seed: options.seed, out, stages: join(PROJECT, ".bench") },
                    ...(options.only === undefined ? {} : { only: options.only }),
                    ...(options.minutes === undefined ? {} : { minutes: options.minutes }),
                },
                signal,
            );
            say(done ? `all is measured: npm run bench -- report ${out}` : "run it again to go on");
        }),
    );
command
    .command("ceiling")
    .description("what the load generator itself can do, against a server that does nothing")
    .option("--seconds <n>", "how long to measure", number, 5)
    .action(({ seconds }: { seconds: number }) =>
        inItsNetwork(async (signal) => {
            heading("The generator's ceiling, without a balancer");
            for (const { mix, perSecond, cores, open } of await measureCeiling(seconds, signal)) {
                const { latency, rate, failed, started } = open;
                const connections = mix === "kept" ? "kept connections" : "a connection per call";
                say(`${connections}: closed loop ${perSecond} calls/s with ${cores} cores`);
                say(
                    `${connections}: open loop at ${rate} calls/s with ${open.cores} cores: ${failed} of ${started} failed, ` +
                        `p50 ${latency?.p50} ms, p99 ${latency?.p99} ms`,
                );
            }
        }),
    );

command
    .command("report")
    .description("rebuilds the report, the figures and the tables of docs/comparison.md from raw data")
    .argument("[journals...]", "a run, and a second one to compare it with")
    .option("--out <dir>", "where the report and its figures go", join(PROJECT, "docs/comparison"))
    .option("--no-document", "leave docs/comparison.md as it is")
    .action((journals: string[], options: { out: string; document: boolean }) =>
        runCommand(async () => {
            const document = join(PROJECT, "docs/comparison.md");
            const written = await report({
                journals: journals.length > 0 ? journals : committed.filter(existsSync),
                out: options.out,
                ...(options.document ? { document } : {}),
            });
            for (const path of written) console.log(relative(process.cwd(), path));
        }, ""),
    );

/** Runs in a network of its own, where one can be made. */
async function inItsNetwork(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (await isolate()) return;
    await runCommand(work, AGAIN);
}

void command.parseAsync();
