/** The replacement loop's program: the daemon and the operators' commands. */
import { randomUUID } from "node:crypto";
import { userInfo } from "node:os";
import { resolve } from "node:path";
import { Command } from "commander";
import { systemClock } from "../../lib/clock";
import { decide } from "../../replacement/core/decide";
import { allowRetry } from "../../replacement/core/loopMemory";
import { ailments } from "../../replacement/health";
import { readJournal } from "../../replacement/journal";
import { renderDecision, renderEntry, renderStatus, type Status, seemsToRun } from "../../replacement/report";
import { readSnapshot, type Snapshot } from "../../replacement/snapshot";
import { commandsOf, daemon, engineOf, observersOf, storeOf } from "./daemon";
import type { LoadProgram } from "./deployedInputs";
import { type ConsulSettings, readSettings, remoteSettings, type Settings, SettingsError } from "./settings";

/** Exit code of `status` when something is not healthy, or the loop does not run. 1 is a mistake in the command, or a failure. */
export const UNHEALTHY = 2;

/** What a command knows: the daemon's settings on its machine, or only how to reach Consul. */
type Known = Settings | ConsulSettings;

function isWhole(known: Known): known is Settings {
    return "journal" in known;
}

const never = new AbortController().signal;

/** The leader's last snapshot, from its file on this machine or as published. */
async function lastSnapshot(known: Known): Promise<Snapshot | undefined> {
    const here = isWhole(known) ? readSnapshot(known.snapshot) : undefined;
    const published = await commandsOf(known)
        .published()
        .catch((error: Error) => {
            if (!isWhole(known)) throw error;
            return undefined;
        });
    const all = [here, published].flatMap((snapshot) => snapshot ?? []);
    return all.sort((a, b) => b.observation.time - a.observation.time)[0];
}

async function statusOf(known: Known): Promise<Status> {
    const snapshot = await lastSnapshot(known);
    const pause = await storeOf(known)
        .pause()
        .catch(() => "unknown" as const);
    const entries = await journalOf(known).catch(() => []);
    return {
        now: systemClock.now(),
        ...(snapshot ? { snapshot } : {}),
        ...(pause ? { pause } : {}),
        actions: entries.flatMap((entry) => (entry.kind === "action" ? [entry] : [])),
    };
}

/** The journal on disk, where a daemon runs here, and the published entries; oldest first, each entry once. */
async function journalOf(known: Known) {
    const here = isWhole(known) ? readJournal(known.journal) : [];
    const published = await commandsOf(known)
        .records()
        .catch((error: Error) => {
            if (!isWhole(known)) throw error;
            return [];
        });
    const written = new Set(here.map((entry) => JSON.stringify(entry)));
    const others = published.filter((entry) => !written.has(JSON.stringify(entry)));
    return others.length > 0 ? [...here, ...others].sort((a, b) => a.time - b.time) : here;
}

/** A line for each alarm of the leader, for the top of `status`; of a loop that does not run, why it says that it cannot. */
async function renderAlarms(known: Known, status: Status): Promise<string> {
    const alarms = status.snapshot?.alarms ?? [];
    const lines = alarms.map(({ name, text }) => `ALARM     ${name}: ${text}\n`);
    if (!seemsToRun(status)) {
        const entries = await journalOf(known).catch(() => []);
        const last = entries.filter(({ kind }) => kind === "error" || kind === "start").at(-1);
        if (last?.kind === "error") lines.push(`ALARM     the loop does not run: ${last.where}: ${last.message}\n`);
    }
    return lines.join("");
}

async function dryRun(known: Known, load: LoadProgram): Promise<string> {
    if (!isWhole(known)) {
        const snapshot = await lastSnapshot(known);
        if (!snapshot) throw new SettingsError("no loop has published a snapshot yet");
        const { observation, decision, policy } = snapshot;
        return renderDecision(decide(observation, decision.memory, { ...policy, dryRun: true }));
    }
    const store = storeOf(known);
    const observe = observersOf(known, await engineOf(known, load, randomUUID()), store);
    const { memory } = await store.load();
    const policy = { ...known.policy, dryRun: true };
    const first = decide(await observe(true), memory, policy);
    // Hard evidence counts when it is seen twice.
    await systemClock.sleep(policy.intervalSeconds, never);
    return renderDecision(decide(await observe(true), first.memory, policy));
}

async function resumeSlot(known: Known, slot: string): Promise<void> {
    const store = storeOf(known);
    for (let attempt = 0; attempt < 5; attempt++) {
        const { memory, index } = await store.load();
        if (await store.save(allowRetry(memory, slot), index)) return;
    }
    throw new Error("the loop's memory changed during each write; try again");
}

/** Asks the leader to replace a server, and waits for its answer. */
async function replace(known: Known, slot: string, why: string, timeoutSeconds: number): Promise<string> {
    const commands = commandsOf(known);
    const now = systemClock.now();
    const snapshot = await lastSnapshot(known);
    const running = snapshot && seemsToRun({ now, snapshot, actions: [] });
    if (!running) throw new SettingsError("no loop is running that could answer: see status");
    const request = { id: randomUUID(), slot, who: userInfo().username, why, when: now };
    if (!(await commands.ask(request))) {
        const other = await commands.request();
        throw new SettingsError(`another request is waiting: ${other?.slot}, by ${other?.who}; try again later`);
    }
    try {
        for (;;) {
            const answer = await commands.answer().catch(() => undefined);
            if (answer?.id === request.id) {
                if (answer.done) return `${answer.text}\n`;
                throw new SettingsError(`${slot} was not replaced: ${answer.text}`);
            }
            if (systemClock.now() - now > timeoutSeconds) {
                throw new SettingsError(`no answer in ${timeoutSeconds} s: see status and explain`);
            }
            await systemClock.sleep(0.5, never);
        }
    } finally {
        await commands.withdraw(request.id).catch(() => undefined);
    }
}

async function explanation(known: Known, last: number, slot: string | undefined): Promise<string> {
    const entries = (await journalOf(known)).flatMap((entry) => renderEntry(entry, slot) ?? []);
    return entries.length > 0 ? entries.slice(-last).join("\n") : "The journal has nothing about that.\n";
}

function positive(text: string): number {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1) throw new SettingsError(`"${text}" is not a whole number above 0`);
    return number;
}

interface Options {
    readonly config?: string;
    readonly consul?: string[];
    readonly ca?: string;
    readonly serverName?: string;
    readonly token?: string;
    readonly prefix?: string;
}

/** The command line. Exported for tests. */
export function program(load: LoadProgram, print: (text: string) => void): Command {
    const root = new Command("replacement").description("The loop that replaces broken gateways.");
    const command = (name: string, description: string) => {
        const env = process.env;
        return root
            .command(name)
            .description(description)
            .option("--config <file>", "the daemon's settings, on its machine", env.GATEWAY_REPLACEMENT)
            .option("--consul <url...>", "from anywhere else: Consul's servers", env.CONSUL_HTTP_ADDR?.split(","))
            .option("--ca <file>", "their certificate authority, PEM", env.CONSUL_CACERT)
            .option("--server-name <name>", "the name in their certificates", env.CONSUL_TLS_SERVER_NAME)
            .option("--token <file>", "file with a token for Consul", env.CONSUL_HTTP_TOKEN_FILE)
            .option("--prefix <prefix>", "where the loop's keys are in Consul");
    };
    const settings = ({ config }: Options) => {
        if (config === undefined) throw new SettingsError("--config is missing: the daemon's settings");
        return readSettings(resolve(config));
    };
    const known = (options: Options): Known => {
        if (options.config !== undefined) return settings(options);
        if (options.consul) return remoteSettings({ ...options, consul: options.consul });
        throw new SettingsError("either --config (on a machine of the loop) or --consul (from anywhere) is needed");
    };

    command("daemon", "run the loop").action((options) => daemon(settings(options), load));
    command("status", "what the loop sees, and why it does or does not act")
        .option("--json", "the same as JSON")
        .action(async (options) => {
            const status = await statusOf(known(options));
            const text = (await renderAlarms(known(options), status)) + renderStatus(status);
            print(options.json ? `${JSON.stringify(status, null, 4)}\n` : text);
            if (ailments(status).length > 0) process.exitCode = UNHEALTHY;
        });
    command("explain", "the last entries of the journal, with every rule's verdict")
        .argument("[slot]", "only what concerns this slot")
        .option("--last <n>", "how many entries", positive, 5)
        .action(async (slot, options) => print(await explanation(known(options), options.last, slot)));
    command("pause", "replace nothing until resumed")
        .option("--reason <text>", "why, for others on call", "no reason given")
        .action(async (options) => {
            const who = userInfo().username;
            await storeOf(known(options)).setPause({ who, why: options.reason, when: systemClock.now() });
            print(`Paused by ${who}: ${options.reason}\n`);
        });
    command("resume", "replace again")
        .argument("[slot]", "allow another try for this slot, which was stopped or given up")
        .action(async (slot, options) => {
            if (slot === undefined) await storeOf(known(options)).setPause(undefined);
            else await resumeSlot(known(options), slot);
            print(slot === undefined ? "Resumed.\n" : `${slot} may be tried again.\n`);
        });
    command(
        "dry-run",
        "show what the loop would do: observes twice or, with --consul, uses the leader's last snapshot",
    ).action(async (options) => print(await dryRun(known(options), load)));
    command("replace", "ask the leader to replace a slot's server, if every rule except that for evidence passes")
        .argument("<slot>", "the slot's name")
        .option("--reason <text>", "why, for others on call", "no reason given")
        .option("--timeout <seconds>", "how long to wait for the outcome", positive, 900)
        .action(async (slot, options) => print(await replace(known(options), slot, options.reason, options.timeout)));
    return root;
}

/**
 * Runs the command line of this process; a failure is one message, and exit code 1.
 *
 * @param load the Pulumi program of the stack that the loop heals.
 */
export async function main(load: LoadProgram, argv: readonly string[] = process.argv): Promise<void> {
    try {
        await program(load, (text) => process.stdout.write(text)).parseAsync(argv);
    } catch (error) {
        process.stderr.write(`${(error as Error).message}\n`);
        process.exitCode = 1;
    }
}
