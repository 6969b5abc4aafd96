/** The replacement loop's program: the daemon, and the commands for those on call. */
import { userInfo } from "node:os";
import { resolve } from "node:path";
import type { Stack } from "@pulumi/pulumi/automation";
import { Command } from "commander";
import pino from "pino";
import { systemClock } from "./clock";
import { decide } from "./decide";
import { automationEngine, type Engine, machineSlots } from "./engine";
import { fileStore } from "./fileStore";
import { fileJournal, type JournalEntry, readJournal } from "./journal";
import { runLoop } from "./loop";
import { forgive } from "./memory";
import { type Observe, observeWith } from "./observe";
import { ConsulHttp } from "./observers/consul";
import { localControlPlane } from "./observers/controlPlane";
import { engineDeployment } from "./observers/deployment";
import { renderDecision, renderEntry, renderStatus, type Status } from "./report";
import { readSettings, type Settings, SettingsError } from "./settings";
import { readSnapshot, writeSnapshot } from "./snapshot";
import { consulStore, type Store } from "./store";

/** What is used of `scripts/engine`: the stack with the same program that `pulumi up` runs. */
interface EngineModule {
    openStack(stackName: string, config: { readonly asDeployed: boolean }): Promise<Stack>;
}

function consulOf({ consul, policy }: Settings): ConsulHttp | undefined {
    return consul && new ConsulHttp({ ...consul, timeoutSeconds: policy.observerTimeoutSeconds });
}

function storeOf(settings: Settings): Store {
    const consul = consulOf(settings);
    return consul ? consulStore(consul, settings.consul?.keyPrefix) : fileStore(settings.store ?? "");
}

async function engineOf(settings: Settings, onOutput?: (text: string) => void): Promise<Engine> {
    process.chdir(settings.projectDirectory);
    // As deployed, so that an edit of the configuration that nobody has deployed yet does not hold up the healing.
    // Imported only here, because it brings the whole program along, which the other commands do not need.
    const { openStack } = require("../scripts/engine") as EngineModule;
    const { typeSuffix, namePrefix } = settings.slots;
    const slotOf = machineSlots(typeSuffix, (name) => name.startsWith(namePrefix));
    return automationEngine(await openStack(settings.stack, { asDeployed: true }), slotOf, onOutput);
}

function observersOf(settings: Settings, engine: Engine, store: Store): Observe {
    if (settings.target !== "local") throw new SettingsError(`target "${settings.target}" has no control plane yet`);
    return observeWith({
        deployment: engineDeployment(engine, systemClock),
        controlPlane: localControlPlane(settings.machinesDirectory),
        consul: consulOf(settings),
        service: settings.consul?.service ?? "",
        balancers: settings.balancers,
        store,
        clock: systemClock,
        timeoutSeconds: settings.policy.observerTimeoutSeconds,
    });
}

/** Runs the loop until SIGTERM or SIGINT. The first lets a replacement end, the second, or too long a wait, does not. */
async function daemon(settings: Settings): Promise<void> {
    const log = pino({ base: { stack: settings.stack } });
    const stop = new AbortController();
    const abort = new AbortController();
    const onSignal = (name: NodeJS.Signals) => {
        log.info({ signal: name }, stop.signal.aborted ? "interrupting" : "stopping");
        if (stop.signal.aborted) abort.abort();
        stop.abort();
        setTimeout(() => abort.abort(), settings.stopSeconds * 1000).unref();
    };
    process.on("SIGTERM", onSignal).on("SIGINT", onSignal);

    const store = storeOf(settings);
    const engine = await engineOf(settings, (text) => log.debug({ engine: text.trimEnd() }));
    await runLoop({
        observe: observersOf(settings, engine, store),
        store,
        engine,
        journal: fileJournal(settings.journal, settings.journalMaxBytes),
        policy: settings.policy,
        clock: systemClock,
        signal: stop.signal,
        abort: abort.signal,
        log: (entry) => logEntry(log, entry),
        onDecision: (decision, observation) =>
            writeSnapshot(settings.snapshot, { pid: process.pid, policy: settings.policy, observation, decision }),
    });
}

function logEntry(log: pino.Logger, entry: JournalEntry): void {
    switch (entry.kind) {
        case "decision":
            log.info({ reasons: entry.decision.reasons, actions: entry.decision.actions }, "decision");
            break;
        case "action":
            log.info({ action: entry.action, ...entry.report }, "action");
            break;
        case "error":
            log.warn({ where: entry.where }, entry.message);
            break;
        default:
            log.info(entry.kind);
    }
}

async function statusOf(settings: Settings): Promise<Status> {
    const snapshot = readSnapshot(settings.snapshot);
    const pause = await storeOf(settings)
        .pause()
        .catch(() => "unknown" as const);
    return {
        now: systemClock.now(),
        ...(snapshot ? { snapshot } : {}),
        ...(pause ? { pause } : {}),
        actions: readJournal(settings.journal).filter((entry) => entry.kind === "action"),
    };
}

async function dryRun(settings: Settings): Promise<string> {
    const store = storeOf(settings);
    const observe = observersOf(settings, await engineOf(settings), store);
    const { memory } = await store.load();
    const policy = { ...settings.policy, dryRun: true };
    const first = decide(await observe(true), memory, policy);
    // Hard evidence has to be seen twice.
    await systemClock.sleep(policy.intervalSeconds, new AbortController().signal);
    return renderDecision(decide(await observe(true), first.memory, policy));
}

async function pardon(settings: Settings, slot: string): Promise<void> {
    const store = storeOf(settings);
    for (let attempt = 0; attempt < 5; attempt++) {
        const { memory, index } = await store.load();
        if (await store.save(forgive(memory, slot), index)) return;
    }
    throw new Error("the loop's memory changed each time it was to be written; try again");
}

function explanation(settings: Settings, last: number, slot: string | undefined): string {
    const entries = readJournal(settings.journal).flatMap((entry) => renderEntry(entry, slot) ?? []);
    return entries.length > 0 ? entries.slice(-last).join("\n") : "The journal has nothing about that.\n";
}

function positive(text: string): number {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1) throw new SettingsError(`"${text}" is not a whole number above 0`);
    return number;
}

/** The command line. Exported for tests. */
export function program(print: (text: string) => void): Command {
    const root = new Command("replacement").description("The loop that replaces broken gateways.");
    const command = (name: string, description: string) =>
        root
            .command(name)
            .description(description)
            .requiredOption("--config <file>", "the daemon's settings", process.env.GATEWAY_REPLACEMENT);
    const settings = ({ config }: { config: string }) => readSettings(resolve(config));

    command("daemon", "run the loop").action((options) => daemon(settings(options)));
    command("status", "what the loop sees, and why it does or does not act")
        .option("--json", "the same for programs")
        .action(async (options) => {
            const status = await statusOf(settings(options));
            print(options.json ? `${JSON.stringify(status, null, 4)}\n` : renderStatus(status));
        });
    command("explain", "the last entries of the journal, with every rule's verdict")
        .argument("[slot]", "only what concerns this slot")
        .option("--last <n>", "how many entries", positive, 5)
        .action((slot, options) => print(explanation(settings(options), options.last, slot)));
    command("pause", "replace nothing until resumed")
        .option("--reason <text>", "why, for others on call", "no reason given")
        .action(async (options) => {
            const who = userInfo().username;
            await storeOf(settings(options)).setPause({ who, why: options.reason, when: systemClock.now() });
            print(`Paused by ${who}: ${options.reason}\n`);
        });
    command("resume", "replace again")
        .argument("[slot]", "let this slot be tried again that was stopped or given up")
        .action(async (slot, options) => {
            if (slot === undefined) await storeOf(settings(options)).setPause(undefined);
            else await pardon(settings(options), slot);
            print(slot === undefined ? "Resumed.\n" : `${slot} may be tried again.\n`);
        });
    command("dry-run", "look twice and say what would be done").action(async (options) =>
        print(await dryRun(settings(options))),
    );
    return root;
}

/** Runs the command line of this process; a failure is one message, and exit code 1. */
export async function main(argv: readonly string[] = process.argv): Promise<void> {
    try {
        await program((text) => process.stdout.write(text)).parseAsync(argv);
    } catch (error) {
        process.stderr.write(`${(error as Error).message}\n`);
        process.exitCode = 1;
    }
}

if (require.main === module) void main();
