/** The demonstration: kills a gateway under load, and prints a timeline until the pool is whole again. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { statesAt } from "../clients/balancerStatus";
import { UserError } from "../engine/stack";
import { type Load, type Report, startLoad } from "../gateway-sample/load";
import { gatewayHome } from "../lib/home";
import { waitFor } from "../lib/wait";
import { probe } from "../programs/probe";
import { killMachine, machineDirectory } from "../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../programs/supervisor/record";
import { type JournalEntry, readJournal } from "../replacement/journal";
import { gatewayHealthPort } from "../roles/gatewayHealth";
import { say } from "./console";

/** Calls per second, with a connection each: `raw` tries once, `retrying` retries. */
const RATE = { raw: 300, retrying: 100 };
/** The longest wait for a step of the timeline, milliseconds. */
const TIMEOUT = 60_000;
/** Interval of the polls, milliseconds: the precision of the timeline. */
const LOOK_EVERY = 10;

/** Addresses of the deployment, from the stack's outputs. */
export interface Addresses {
    readonly endpoints: readonly string[];
    readonly gateways: readonly string[];
    readonly balancerStatus: readonly string[];
}

/**
 * Kills the last gateway's machine under load, and prints the timeline until the pool is whole again.
 *
 * @throws UserError when the pool does not recover.
 */
export async function demonstrate(addresses: Addresses, signal: AbortSignal): Promise<void> {
    const home = gatewayHome();
    const victim =
        machineNames(home.machines)
            .filter((name) => name.startsWith("gw-"))
            .at(-1) ?? "gw-0";
    const address = (addresses.gateways.at(-1) ?? "").split(":")[0] ?? "";
    const record = readLiveRecord(machineDirectory(home, victim));
    if (!record) throw new UserError(`${victim} is not running; "npm run status" says why`);

    const raw = startLoad({ addresses: addresses.endpoints, ratePerSecond: RATE.raw });
    const retrying = startLoad({ addresses: addresses.endpoints, ratePerSecond: RATE.retrying, raw: false });
    try {
        say(
            `calls: ${RATE.raw}/s through ${addresses.endpoints[0]} tried once, ${RATE.retrying}/s repeated on failure`,
        );
        await untilCalls(raw, RATE.raw * 2, signal);
        say(`${raw.live.ok} answered, ${raw.live.failed} failed`);

        const killedAt = Date.now();
        await killMachine(home, victim);
        const since = (time: number) => `${((time - killedAt) / 1000).toFixed(2).padStart(6)} s`;
        say(`kill -9: every process of ${victim} (${address}) at once`);

        const states = () => balancerViews(addresses.balancerStatus, address);
        const out = await until(
            `the balancers to stop using ${victim}`,
            signal,
            async () => !(await states()).includes("up"),
        );
        say(`${since(out)}  the balancers no longer use it`);
        const decision = await untilJournaled(signal, killedAt, "decision");
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
        const action = await untilJournaled(signal, killedAt, "action");
        say(`${since(action.at)}  ${action.reason}`);
        await untilCalls(raw, raw.live.started + RATE.raw, signal);
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

/** Waits until the load has made this many calls. */
async function untilCalls(load: Load, calls: number, signal: AbortSignal): Promise<void> {
    await until(`${calls} calls`, signal, async () => load.live.started >= calls);
}

async function until(what: string, signal: AbortSignal, condition: () => Promise<boolean>): Promise<number> {
    await waitFor(what, async () => signal.aborted || (await condition()), TIMEOUT, LOOK_EVERY).catch(
        (error: Error) => {
            throw new UserError(`${error.message}. "npm run status" shows what the replacement loop does.`);
        },
    );
    signal.throwIfAborted();
    return Date.now();
}

/** The state of an address on each balancer. "unknown" when the balancer does not answer. */
async function balancerViews(pages: readonly string[], address: string): Promise<string[]> {
    return Promise.all(
        pages.map((page) =>
            statesAt(page, 1).then(
                (states) => states.get(address) ?? "absent",
                () => "unknown",
            ),
        ),
    );
}

/** Waits until the loop's journal has a decision to act, or the report of the action. */
async function untilJournaled(
    signal: AbortSignal,
    after: number,
    kind: "decision" | "action",
): Promise<{ at: number; reason: string }> {
    const path = join(machineDirectory(gatewayHome(), "replacer"), "lib", "journal.jsonl");
    let found: JournalEntry | undefined;
    let read = -1;
    await until(`the replacement loop's ${kind}`, signal, async () => {
        // This process also makes the calls, and reading a long journal each time would delay them.
        const { size } = statSync(path);
        if (size !== read) found = readJournal(path).find((each) => each.time * 1000 > after && matches(each, kind));
        read = size;
        return found !== undefined;
    });
    const entry = found as unknown as JournalEntry;
    return { at: entry.time * 1000, reason: textOf(entry) };
}

function matches(entry: JournalEntry, kind: "decision" | "action"): boolean {
    return entry.kind === kind && (entry.kind !== "decision" || entry.decision.actions.length > 0);
}

function textOf(entry: JournalEntry): string {
    if (entry.kind === "decision") return entry.decision.reasons.join("; ");
    if (entry.kind !== "action") return "";
    const seconds = Object.entries(entry.report.seconds ?? {}).map(([step, time]) => `${step} ${time.toFixed(1)} s`);
    return `the loop has finished: ${entry.report.outcome.kind} (${seconds.join(", ")})`;
}
