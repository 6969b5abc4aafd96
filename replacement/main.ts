/** The replacement loop's program: the daemon, and the commands for those on call. */
import { randomUUID } from "node:crypto";
import { userInfo } from "node:os";
import { resolve } from "node:path";
import { Command } from "commander";
import { systemClock } from "./clock";
import { daemon, deskOf, engineOf, observersOf, storeOf } from "./daemon";
import { decide } from "./decide";
import { readJournal } from "./journal";
import { forgive } from "./memory";
import { renderDecision, renderEntry, renderStatus, type Status, seemsToRun } from "./report";
import { type ConsulSettings, readSettings, remoteSettings, type Settings, SettingsError } from "./settings";
import { readSnapshot, type Snapshot } from "./snapshot";

/** What the commands know: all of the settings on a machine that runs the daemon, or how Consul is reached. */
type Known = Settings | ConsulSettings;

function isWhole(known: Known): known is Settings {
    return "journal" in known;
}

const never = new AbortController().signal;

/** What the leader saw last: its own file where it runs here, else what it has published. */
async function lastSnapshot(known: Known): Promise<Snapshot | undefined> {
    const here = isWhole(known) ? readSnapshot(known.snapshot) : undefined;
    const published = await deskOf(known)
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

/** The journal on disk where a daemon runs here, and what the leaders have published; oldest first, each entry once. */
async function journalOf(known: Known) {
    const here = isWhole(known) ? readJournal(known.journal) : [];
    const published = await deskOf(known)
        .records()
        .catch((error: Error) => {
            if (!isWhole(known)) throw error;
            return [];
        });
    const written = new Set(here.map((entry) => JSON.stringify(entry)));
    const others = published.filter((entry) => !written.has(JSON.stringify(entry)));
    return others.length > 0 ? [...here, ...others].sort((a, b) => a.time - b.time) : here;
}

async function dryRun(known: Known): Promise<string> {
    if (!isWhole(known)) {
        const snapshot = await lastSnapshot(known);
        if (!snapshot) throw new SettingsError("no loop has published what it sees yet");
        const { observation, decision, policy } = snapshot;
        return renderDecision(decide(observation, decision.memory, { ...policy, dryRun: true }));
    }
    const store = storeOf(known);
    const observe = observersOf(known, await engineOf(known, randomUUID()), store);
    const { memory } = await store.load();
    const policy = { ...known.policy, dryRun: true };
    const first = decide(await observe(true), memory, policy);
    // Hard evidence has to be seen twice.
    await systemClock.sleep(policy.intervalSeconds, never);
    return renderDecision(decide(await observe(true), first.memory, policy));
}

async function pardon(known: Known, slot: string): Promise<void> {
    const store = storeOf(known);
    for (let attempt = 0; attempt < 5; attempt++) {
        const { memory, index } = await store.load();
        if (await store.save(forgive(memory, slot), index)) return;
    }
    throw new Error("the loop's memory changed each time it was to be written; try again");
}

/** Asks the leader to replace a server, and waits for what comes of it. */
async function replace(known: Known, slot: string, why: string, timeoutSeconds: number): Promise<string> {
    const desk = deskOf(known);
    const now = systemClock.now();
    const snapshot = await lastSnapshot(known);
    const running = snapshot && seemsToRun({ now, snapshot, actions: [] });
    if (!running) throw new SettingsError("no loop leads at present, so nobody would answer: see status");
    const request = { id: randomUUID(), slot, who: userInfo().username, why, when: now };
    if (!(await desk.ask(request))) {
        const other = await desk.request();
        throw new SettingsError(`another request waits: ${other?.slot}, asked for by ${other?.who}; try again later`);
    }
    try {
        for (;;) {
            const answer = await desk.answer().catch(() => undefined);
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
        await desk.withdraw(request.id).catch(() => undefined);
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
export function program(print: (text: string) => void): Command {
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

    command("daemon", "run the loop").action((options) => daemon(settings(options)));
    command("status", "what the loop sees, and why it does or does not act")
        .option("--json", "the same for programs")
        .action(async (options) => {
            const status = await statusOf(known(options));
            print(options.json ? `${JSON.stringify(status, null, 4)}\n` : renderStatus(status));
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
        .argument("[slot]", "let this slot be tried again that was stopped or given up")
        .action(async (slot, options) => {
            if (slot === undefined) await storeOf(known(options)).setPause(undefined);
            else await pardon(known(options), slot);
            print(slot === undefined ? "Resumed.\n" : `${slot} may be tried again.\n`);
        });
    command(
        "dry-run",
        "say what would be done: by looking twice, or, from elsewhere, by what the leader saw last",
    ).action(async (options) => print(await dryRun(known(options))));
    command("replace", "have the leader replace a slot's server, if every rule but the one for evidence agrees")
        .argument("<slot>", "the slot's name")
        .option("--reason <text>", "why, for others on call", "no reason given")
        .option("--timeout <seconds>", "how long to wait for the outcome", positive, 900)
        .action(async (slot, options) => print(await replace(known(options), slot, options.reason, options.timeout)));
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
