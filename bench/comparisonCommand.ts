/** `npm run bench`: compares the three load balancing stacks; `-- --help` lists the other commands. */
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { heading, runCommand, say } from "../scripts/console";
import { ensureStackTools } from "./benchmarkDeployment";
import { runComparison } from "./comparisonRun";
import { measureCeiling } from "./generatorCeiling";
import { inOwnNamespace, runInOwnNamespace } from "./networkNamespace";
import { writeReport } from "./report";
import { mixLabels } from "./report/style";
import { type Profile, profiles } from "./trialMatrix";

const PROJECT = resolve(__dirname, "..");
/** The raw data behind the tables and figures of the documentation. */
const committed = ["standard.jsonl", "again.jsonl"].map((name) => join(PROJECT, "docs/comparison", name));
const AGAIN = "Finished measurements are kept. Run the same command again to continue.";

function number(text: string): number {
    const value = Number(text);
    if (!(value > 0)) throw new InvalidArgumentError("It must be a number above 0.");
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
    .description(
        "Compares the three load balancing stacks under load and faults, in deployments of its own on this computer.",
    )
    .option("--quick", "a short look at everything: about five minutes")
    .addOption(new Option("--standard", "every fault, with few repeats: about 45 minutes").conflicts("quick"))
    .addOption(
        new Option("--full", "20 repeats of everything: about 19 hours (default)").conflicts(["quick", "standard"]),
    )
    .option("--seed <n>", "seed of the order of trials and of the phases of faults", number, 1)
    .option("--out <file>", "journal of the run, which is its raw data; a run continues an existing one")
    .option("--only <pattern>", "only trials whose names match, such as 'fault/.*/gateway-kill'", pattern)
    .option("--minutes <n>", "stop after this time; the next run continues", number)
    .action((options: { quick?: true; standard?: true; seed: number; out?: string; only?: RegExp; minutes?: number }) =>
        inOwnNetwork(ensureStackTools, async (signal) => {
            const name: Profile["name"] = options.quick ? "quick" : options.standard ? "standard" : "full";
            const out = resolve(options.out ?? join(PROJECT, `bench/results/${name}.jsonl`));
            const done = await runComparison(
                {
                    ...{ profile: profiles[name], seed: options.seed, out, deployments: join(PROJECT, ".bench") },
                    ...(options.only === undefined ? {} : { only: options.only }),
                    ...(options.minutes === undefined ? {} : { minutes: options.minutes }),
                },
                signal,
            );
            say(
                done
                    ? `All trials are done. To see the report: npm run bench -- report ${out}`
                    : "Run it again to continue.",
            );
        }),
    );
command
    .command("ceiling")
    .description("Measures the most that the load generator itself can do, without a balancer.")
    .option("--seconds <n>", "duration of each measurement", number, 5)
    .action(({ seconds }: { seconds: number }) =>
        inOwnNetwork(undefined, async (signal) => {
            heading("Ceiling of the load generator, without a balancer");
            for (const { mix, perSecond, cores, open } of await measureCeiling(seconds, signal)) {
                const { latency, rate, failed, started } = open;
                const connections = mixLabels[mix];
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
    .description("Builds the report, the figures and the tables of docs/comparison.md from raw data.")
    .argument("[journals...]", "journal of a run, and of a second run to compare it with")
    .option("--out <dir>", "folder for the report and its figures", join(PROJECT, "docs/comparison"))
    .option("--no-document", "do not update docs/comparison.md")
    .action((journals: string[], options: { out: string; document: boolean }) =>
        runCommand(async () => {
            const document = join(PROJECT, "docs/comparison.md");
            const written = await writeReport({
                journals: journals.length > 0 ? journals : committed.filter(existsSync),
                out: options.out,
                ...(options.document ? { document } : {}),
            });
            for (const path of written) console.log(relative(process.cwd(), path));
        }, ""),
    );

/** Runs in a network namespace of its own where the computer allows it, after `prepare` with access to the network. */
async function inOwnNetwork(
    prepare: ((say: (line: string) => void) => Promise<void>) | undefined,
    work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
    if (prepare && !inOwnNamespace()) await runCommand(() => prepare(say), AGAIN);
    if (process.exitCode || (await runInOwnNamespace())) return;
    await runCommand(work, AGAIN);
}

void command.parseAsync();
