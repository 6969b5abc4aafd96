/**
 * The replacement loop on the Consul servers, as the tests watch it: through its journal, its health endpoint and its
 * commands.
 */
import { join } from "node:path";
import { waitFor } from "../../../../lib/wait";
import { type JournalEntry, readJournal } from "../../../../replacement/journal";
import type { Status } from "../../../../replacement/report";
import type { Host } from "../../../hosts/host";
import type { Environment } from "./environment";

/** The machines that run it. */
const MACHINES = ["consul-0", "consul-1", "consul-2"] as const;
const JOURNAL = "var/lib/gateway/replacer/journal.jsonl";
const COMMAND = ["/opt/gateway/bin/node", "/opt/gateway/bin/replacer.cjs"];
const SETTINGS = "--config=/etc/gateway/replacer.json";

/** An action that the loop started, or a decision to act. */
type Of<K extends JournalEntry["kind"]> = Extract<JournalEntry, { kind: K }>;

/** The loop of a deployment. */
export class Loop {
    constructor(private readonly environment: Environment) {}

    /** The entries of all its daemons, oldest first. */
    async journal(): Promise<JournalEntry[]> {
        const hosts = await Promise.all(MACHINES.map((machine) => this.environment.host(machine)));
        const entries = hosts.flatMap((host) => readJournal(join(host.root, JOURNAL)));
        return entries.sort((a, b) => a.time - b.time);
    }

    /** Entries of a kind since a time, in seconds since 1970. */
    async since<K extends JournalEntry["kind"]>(time: number, kind: K): Promise<Of<K>[]> {
        return (await this.journal()).filter((entry): entry is Of<K> => entry.kind === kind && entry.time >= time);
    }

    /** The machine whose daemon leads. */
    async leader(timeout = 90_000): Promise<Host> {
        return waitFor(
            "a leader of the loop",
            async () => {
                for (const machine of MACHINES) {
                    const host = await this.environment.host(machine);
                    if ((await this.health(host))?.role === "leader") return host;
                }
                return undefined;
            },
            timeout,
            500,
        );
    }

    /** A daemon's report of its state; undefined if it does not answer. */
    async health(host: Host): Promise<{ readonly role: string; readonly healthy: boolean } | undefined> {
        const answer = await host
            .exec(["curl", "-sS", "--max-time", "3", "http://127.0.0.1:9195/health"])
            .catch(() => undefined);
        return answer === undefined ? undefined : JSON.parse(answer);
    }

    /** Runs an operator command on a machine of the loop. */
    async command(...words: readonly string[]): Promise<string> {
        const host = await this.environment.host(MACHINES[0]);
        return host.exec([...COMMAND, ...words, SETTINGS]);
    }

    async status(): Promise<Status> {
        const host = await this.environment.host(MACHINES[0]);
        // Exit code 2 says that something is not healthy.
        const told = await host.exec([
            "sh",
            "-c",
            '"$@" || [ $? -eq 2 ]',
            "sh",
            ...COMMAND,
            "status",
            "--json",
            SETTINGS,
        ]);
        return JSON.parse(told) as Status;
    }

    /** Waits until the loop finds every server of the pool healthy, and may act. */
    async settled(size: number, timeout = 240_000): Promise<void> {
        await waitFor(
            `the loop to find ${size} healthy servers`,
            async () => {
                const { snapshot } = await this.status();
                const slots = snapshot?.decision.slots ?? [];
                const blocked = snapshot?.decision.pool.filter(({ passed }) => !passed) ?? [];
                if (blocked.length > 0)
                    throw new Error(blocked.map(({ gate, reason }) => `${gate}: ${reason}`).join("; "));
                const healthy = slots.filter(({ condition }) => condition === "healthy");
                if (slots.length !== size || healthy.length !== size) {
                    throw new Error(slots.map(({ slot, condition }) => `${slot} ${condition}`).join(", "));
                }
                return true;
            },
            timeout,
            1_000,
        );
    }

    /** Waits until a replacement of a slot that started after `time` has ended. @returns its entry. */
    async replaced(slot: string, time: number, timeout = 400_000): Promise<Of<"action">> {
        return waitFor(
            `the loop's replacement of ${slot}`,
            async () => {
                const actions = (await this.since(time, "action")).filter(({ action }) => action.slot === slot);
                const done = actions.find(({ report }) => report.outcome.kind === "done");
                if (done) return done;
                throw new Error(actions.map(({ report }) => JSON.stringify(report.outcome)).join("; ") || "none yet");
            },
            timeout,
            500,
        );
    }

    /** Seconds from `time` until the loop decided to replace a slot. */
    async decidedAfter(slot: string, time: number): Promise<number> {
        const decisions = await this.since(time, "decision");
        const first = decisions.find(({ decision }) => decision.actions.some((action) => action.slot === slot));
        if (!first) throw new Error(`the loop has not decided to replace ${slot}`);
        return first.time - time;
    }
}
