/** The demonstration: a gateway is killed under load, and what happens until the pool is whole again is timed. */
import { join } from "node:path";
import { type Load, type Report, startLoad } from "../bench/load";
import { gatewayHome } from "../components/local/home";
import { type JournalEntry, readJournal } from "../replacement/journal";
import { statesAt } from "../replacement/observers/balancer";
import { gatewayHealthPort } from "../roles/gatewayHealth";
import { killMachine, machineDirectory } from "../supervisor/machine";
import { probe } from "../supervisor/probe";
import { machineNames, readLiveRecord } from "../supervisor/record";
import { waitFor } from "../supervisor/wait";
import { say } from "./console";
import { UserError } from "./engine";

/** Calls per second, a connection each: of the client that tries once, and of the one that repeats. */
const RATE = { raw: 300, retrying: 100 };
/** How long the loop may take from the fault to a pool that is whole, milliseconds. */
const TIMEOUT = 60_000;
/** How often the balancers' view is taken, milliseconds: what the times of the timeline are good for. */
const LOOK_EVERY = 10;

/** Where the deployment is: outputs of the stack. */
export interface Addresses {
    readonly endpoints: readonly string[];
    readonly gateways: readonly string[];
    readonly balancerStatus: readonly string[];
}

/**
 * Kills the last gateway's machine under load, and prints the timeline until the pool is whole again.
 *
 * @throws UserError when it does not get whole.
 */
export async function demonstrate(addresses: Addresses, signal: AbortSignal): Promise<void> {
    const home = gatewayHome();
    const victim =
        machineNames(home.machines)
            .filter((name) => name.startsWith("gw-"))
            .at(-1) ?? "gw-0";
    const address = (addresses.gateways.at(-1) ?? "").split(":")[0] ?? "";
    const record = readLiveRecord(machineDirectory(home, victim));
    if (!record) throw new UserError(`${victim} does not run; "npm run status" says why`);

    const raw = startLoad({ addresses: addresses.endpoints, ratePerSecond: RATE.raw });
    const retrying = startLoad({ addresses: addresses.endpoints, ratePerSecond: RATE.retrying, raw: false });
    try {
        say(`calls: ${RATE.raw}/s through ${addresses.endpoints[0]} tried once, ${RATE.retrying}/s that repeat`);
        await enough(raw, RATE.raw * 2, signal);
        say(`${raw.live.ok} answered, ${raw.live.failed} failed`);

        const killedAt = Date.now();
        await killMachine(home, victim);
        const since = (time: number) => `${((time - killedAt) / 1000).toFixed(2).padStart(6)} s`;
        say(`kill -9: every process of ${victim} (${address}) at once`);

        const states = () => view(addresses.balancerStatus, address);
        const out = await until(
            `the balancers to stop using ${victim}`,
            signal,
            async () => !(await states()).includes("up"),
        );
        say(`${since(out)}  the balancers no longer use it`);
        const decision = await journal(signal, killedAt, "decision");
        say(`${since(decision.at)}  the loop decides: ${decision.reason}`);
        const health = { kind: "http", url: `http://${address}:${gatewayHealthPort}/health`, status: 200 } as const;
        const passed = await until(`the new ${victim} to answer`, signal, () => probe(health, "."));
        say(`${since(passed)}  the new one answers its first Thrift health check`);
        const whole = await until("the pool to be whole", signal, async () =>
            (await states()).every((s) => s === "up"),
        );
        say(
            `${since(whole)}  the pool is whole: both balancers use it (${((whole - decision.at) / 1000).toFixed(1)} s after the decision)`,
        );
        const action = await journal(signal, killedAt, "action");
        say(`${since(action.at)}  ${action.reason}`);
        await enough(raw, raw.live.started + RATE.raw, signal);
        summary("tried once", await raw.stop());
        summary("repeated", await retrying.stop());
    } finally {
        await Promise.all([raw.stop(), retrying.stop()]);
    }
}

function summary(name: string, report: Report): void {
    const span = report.failed > 1 ? `, within ${report.outageMs.toFixed(0)} ms` : "";
    const p99 = report.latencyMs ? `; 99 % within ${report.latencyMs.p99.toFixed(1)} ms` : "";
    say(`calls ${name}: ${report.started} made, ${report.failed} failed${span}${p99}`);
}

/** Waits until that many calls were made. */
async function enough(load: Load, calls: number, signal: AbortSignal): Promise<void> {
    await until(`${calls} calls`, signal, async () => load.live.started >= calls);
}

async function until(what: string, signal: AbortSignal, condition: () => Promise<boolean>): Promise<number> {
    await waitFor(what, async () => signal.aborted || (await condition()), TIMEOUT, LOOK_EVERY).catch(
        (error: Error) => {
            throw new UserError(`${error.message}. "npm run status" says what the replacement loop makes of it.`);
        },
    );
    signal.throwIfAborted();
    return Date.now();
}

/** What each balancer does with an address; one that does not answer counts as not using it. */
async function view(pages: readonly string[], address: string): Promise<string[]> {
    return Promise.all(
        pages.map((page) =>
            statesAt(page, 1).then(
                (states) => states.get(address) ?? "absent",
                () => "unknown",
            ),
        ),
    );
}

/** Waits for the loop's next decision to act, or for the report of what it did. */
async function journal(
    signal: AbortSignal,
    after: number,
    kind: "decision" | "action",
): Promise<{ at: number; reason: string }> {
    const path = join(machineDirectory(gatewayHome(), "replacer"), "lib", "journal.jsonl");
    const find = () => readJournal(path).find((entry) => entry.time * 1000 > after && matches(entry, kind));
    await until(`the replacement loop's ${kind}`, signal, async () => find() !== undefined);
    const entry = find() as JournalEntry;
    return { at: entry.time * 1000, reason: textOf(entry) };
}

function matches(entry: JournalEntry, kind: "decision" | "action"): boolean {
    return entry.kind === kind && (entry.kind !== "decision" || entry.decision.actions.length > 0);
}

function textOf(entry: JournalEntry): string {
    if (entry.kind === "decision") return entry.decision.reasons.join("; ");
    if (entry.kind !== "action") return "";
    const seconds = Object.entries(entry.report.seconds ?? {}).map(([step, time]) => `${step} ${time.toFixed(1)} s`);
    return `the loop is done with it: ${entry.report.outcome.kind} (${seconds.join(", ")})`;
}
