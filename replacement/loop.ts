/** The loop: observe, decide, act, and once more. */
import { type Outcome, type Report, replaceServer } from "./actor";
import type { Clock } from "./clock";
import { type Action, type Decision, decide, signature, whyNot } from "./decide";
import type { Desk } from "./desk";
import type { Engine, Operation } from "./engine";
import type { Journal, JournalEntry } from "./journal";
import type { Lease } from "./lease";
import { begin, interrupted, lasting, type Memory, type Settlement, settle } from "./memory";
import type { Observation, Sight } from "./observation";
import type { Observe } from "./observe";
import type { Wake } from "./observers/watch";
import type { ReplacementPolicy } from "./policy";
import { type Janitor, planRecovery, type Step } from "./recovery";
import { FencedOff, type Store, type Stored } from "./store";

/** What the loop is made of. */
export interface LoopParts {
    readonly observe: Observe;
    readonly store: Store;
    readonly engine: Engine;
    readonly journal: Journal;
    readonly policy: ReplacementPolicy;
    readonly clock: Clock;
    /** Ends the loop. A replacement that was begun is finished first. */
    readonly signal: AbortSignal;
    /** Interrupts even that. Default: never. */
    readonly abort?: AbortSignal;
    /** The right to act; without one there is nobody else who could. Its loss ends the loop and what it is doing. */
    readonly lease?: Lease;
    /** Name of this machine, to be remembered with what is begun. Default: empty. */
    readonly host?: string;
    /** Settles what earlier runs have left behind. Default: nothing is looked for. */
    readonly janitor?: Janitor;
    /** Where operators' requests are answered. */
    readonly desk?: Pick<Desk, "reply">;
    /** Ends the wait for the next round early. Default: it is always as long as the policy says. */
    readonly wake?: Wake;
    /** Told of every decision, whether or not it is worth a line in the journal. May throw. */
    readonly onDecision?: (decision: Decision, observation: Observation) => void;
    /** Told of every entry of the journal, and of what could not be written there. Must not throw. */
    readonly log?: (entry: JournalEntry) => void;
}

/**
 * Runs until its signal is aborted or its lease is lost. Whatever fails is journaled and tried again in the next round.
 */
export async function runLoop(given: LoopParts): Promise<void> {
    const { clock, policy, lease } = given;
    const never = new AbortController().signal;
    const either = (signal = never) => (lease ? AbortSignal.any([signal, lease.lost]) : signal);
    const parts = { ...given, signal: either(given.signal), abort: either(given.abort) };
    const { signal } = parts;
    const loop = new Loop(parts);
    const epoch = lease ? { epoch: lease.epoch } : {};
    loop.write({ kind: "start", time: clock.now(), pid: process.pid, policy, ...epoch });
    while (!signal.aborted) {
        await loop.round();
        if (!signal.aborted) await pause(parts);
    }
    const deposed = lease?.lost.aborted === true;
    if (!deposed) await loop.end();
    loop.write({ kind: "stop", time: clock.now(), reason: deposed ? "not the leader any more" : "told to stop" });
}

/** Looking more often than this brings nothing, in seconds, however often something changes. */
const SHORTEST_PAUSE = 1;

/** Waits for the next round: for the interval, or until something has changed. */
async function pause({ clock, policy: { intervalSeconds }, signal, wake }: LoopParts): Promise<void> {
    if (!wake || intervalSeconds <= SHORTEST_PAUSE) return clock.sleep(intervalSeconds, signal);
    await clock.sleep(SHORTEST_PAUSE, signal);
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    await Promise.race([clock.sleep(intervalSeconds - SHORTEST_PAUSE, either), wake(either)]);
    over.abort();
}

class Loop {
    /** The memory as it is here, and which version of the store's it goes back to. */
    private memory: Stored | undefined;
    /** The lasting part of what the store holds, and when it was written. */
    private saved = { lasting: "", time: Number.NEGATIVE_INFINITY };
    /** The end of a replacement that is not in the store yet. */
    private unsettled: ((memory: Memory) => Memory) | undefined;
    private lastSignature = "";
    /** What failed the last time, so that it is not told every second. */
    private readonly failing = new Map<string, string>();
    /** Whether what was seen before must not be used again, because this loop has changed it. */
    private fresh = true;
    /** What the last search for leftovers came to, when it was, and whether it may be relied upon. */
    private leftovers: { readonly unsettled?: string; readonly time: number; readonly valid: boolean } | undefined;
    private lastSeen: Observation | undefined;
    /** The preview that was made last before there was enough evidence to act. */
    private ahead: Ahead | undefined;

    constructor(private readonly parts: LoopParts) {}

    async round(): Promise<void> {
        const { store, policy } = this.parts;
        const memory = this.memory ?? (await this.attempt("memory", () => store.load()));
        if (!memory) return;
        if (!this.memory) this.loaded(memory);
        await this.tidy();
        if (!this.memory || this.parts.signal.aborted) return;
        let decision = await this.attempt("observe", () => this.look());
        if (decision?.next && (await this.previewAhead(decision.next))) {
            decision = await this.attempt("observe", () => this.lookAfterPreview());
        }
        if (!decision || this.parts.signal.aborted) return;
        const [action] = decision.actions;
        const report = action && (await this.act(action));
        if (!action) await this.saveWhenDue(policy.maxGapSeconds / 2);
        await this.answer(decision, report);
    }

    /** Stores what is not stored yet. */
    async end(): Promise<void> {
        if (this.memory) await this.saveWhenDue(Number.POSITIVE_INFINITY);
    }

    write(entry: JournalEntry): void {
        this.parts.log?.(entry);
        try {
            this.parts.journal.append(entry);
            this.failing.delete("journal");
        } catch (error) {
            const message = (error as Error).message;
            if (this.failing.get("journal") === message) return;
            this.failing.set("journal", message);
            this.parts.log?.({ kind: "error", time: this.parts.clock.now(), where: "journal", message });
        }
    }

    private get known(): Stored {
        if (!this.memory) throw new Error("the memory is not loaded");
        return this.memory;
    }

    private loaded(stored: Stored): void {
        this.saved = { lasting: lasting(stored.memory), time: this.parts.clock.now() };
        this.memory = this.unsettled ? { ...stored, memory: this.unsettled(stored.memory) } : stored;
    }

    /** Does it, and gives undefined when it throws, which is journaled unless it was the same the last time. */
    private async attempt<T>(where: string, step: () => Promise<T>): Promise<T | undefined> {
        try {
            const result = await step();
            this.failing.delete(where);
            return result;
        } catch (error) {
            const message = error instanceof Error ? error.message : String(error);
            if (error instanceof FencedOff) this.parts.lease?.revoke(`a write was refused: ${message}`);
            if (this.failing.get(where) !== message) {
                this.failing.set(where, message);
                this.write({ kind: "error", time: this.parts.clock.now(), where, message });
            }
            return undefined;
        }
    }

    /** Observes and decides. */
    private async look(policy = this.parts.policy): Promise<Decision> {
        const { observe, onDecision } = this.parts;
        const observed = await observe(this.fresh);
        const observation = this.leftovers ? { ...observed, leftovers: sightOf(this.leftovers.unsettled) } : observed;
        this.lastSeen = observation;
        this.fresh = !observation.deployment.seen;
        const decision = decide(observation, this.known.memory, policy);
        this.memory = { ...this.known, memory: decision.memory };
        const sign = signature(decision);
        if (sign !== this.lastSignature) {
            this.lastSignature = sign;
            const { memory: _, ...told } = decision;
            this.write({ kind: "decision", time: decision.time, decision: told, observation });
        }
        await this.attempt("snapshot", async () => onDecision?.(decision, observation));
        return decision;
    }

    /** The same; a preview may take longer than observations may be apart, and that is no reason to begin anew. */
    private lookAfterPreview(): Promise<Decision> {
        return this.look({ ...this.parts.policy, maxGapSeconds: Number.POSITIVE_INFINITY });
    }

    /**
     * Uses the time until there is enough evidence for the preview, which changes nothing. It is made once for each
     * server and version of the state. @returns whether it was made now, so that it is time to look again.
     */
    private async previewAhead(next: Action): Promise<boolean> {
        const { engine, clock, signal, policy, lease } = this.parts;
        const stateVersion = this.lastSeen?.deployment.stateVersion;
        const { serverId } = next;
        if (stateVersion === undefined) return false;
        if (this.ahead?.serverId === serverId && this.ahead.stateVersion === stateVersion) return false;
        const stamp = lease && { slot: next.slot, epoch: lease.epoch };
        // What goes wrong now is told when the replacement asks again.
        const operations = await engine.previewReplace(next.urn, signal, stamp).catch(() => undefined);
        this.ahead = { serverId, stateVersion, operations, until: clock.now() + policy.maxGapSeconds };
        return true;
    }

    /** Looks for leftovers when it is time to, and settles them. */
    private async tidy(): Promise<void> {
        const { janitor, clock, policy, signal } = this.parts;
        if (!janitor) return;
        const seen = Object.keys(this.known.memory.sightings ?? {}).length > 0;
        const { leftovers } = this;
        const pause = leftovers?.unsettled
            ? policy.lockRetrySeconds
            : seen
              ? Math.min(policy.duplicateSeconds, policy.sweepSeconds)
              : policy.sweepSeconds;
        const due = !leftovers?.valid || clock.now() - leftovers.time >= pause;
        if (!due) return;
        const plan = await this.attempt("leftovers", async () => {
            const found = await janitor.search(signal);
            const now = { time: clock.now(), epoch: this.parts.lease?.epoch ?? Number.MAX_SAFE_INTEGER };
            return planRecovery(found, this.known.memory, now, policy);
        });
        if (!plan) {
            // What was settled stays so, unless something has been done since.
            const unsettled = leftovers?.valid ? leftovers.unsettled : "it cannot be seen whether there is one";
            this.leftovers = {
                ...(unsettled ? { unsettled } : {}),
                time: clock.now(),
                valid: leftovers?.valid ?? false,
            };
            return;
        }
        const { sightings: before = {}, ...rest } = this.known.memory;
        const sightings = Object.keys(plan.sightings).length > 0 ? { sightings: plan.sightings } : {};
        this.memory = { ...this.known, memory: { ...rest, ...sightings } };
        const { unsettled } = plan;
        this.leftovers = { ...(unsettled ? { unsettled } : {}), time: clock.now(), valid: plan.steps.length === 0 };
        if (JSON.stringify(before) !== JSON.stringify(plan.sightings)) await this.saveWhenDue(0);
        if (plan.steps.length > 0) await this.settleLeftovers(janitor, plan.steps);
    }

    private async settleLeftovers(janitor: Janitor, steps: readonly Step[]): Promise<void> {
        const { store, clock, policy, lease, signal, abort = signal } = this.parts;
        if (policy.paused || policy.dryRun || !this.memory) return;
        const pause = await this.attempt("pause", async () => ({ pressed: (await store.pause()) !== undefined }));
        if (pause?.pressed !== false) return;
        this.fresh = true;
        // The write that only the leader can make comes first, as before a replacement.
        await this.saveWhenDue(Number.NEGATIVE_INFINITY);
        for (const step of steps) {
            if (!this.memory || signal.aborted || lease?.holds() === false) return;
            const error = await janitor.carryOut(step, abort).then(
                () => undefined,
                (thrown: Error) => thrown.message,
            );
            const sign = `${step.kind} ${step.reason}`;
            // What fails each time is told once.
            if (error !== undefined && this.failing.get(sign) === error) continue;
            if (error !== undefined) this.failing.set(sign, error);
            else this.failing.delete(sign);
            this.write({ kind: "recovery", time: clock.now(), step, ...(error === undefined ? {} : { error }) });
        }
    }

    /** Tells an operator what came of the request that this decision was made with. */
    private async answer(decision: Decision, report: Report | undefined): Promise<void> {
        const { desk, clock } = this.parts;
        const request = this.lastSeen?.request;
        if (!desk || !request) return;
        const acted = report !== undefined && decision.actions[0]?.slot === request.slot;
        const outcome = acted ? report.outcome : undefined;
        const text = !outcome
            ? whyNot(decision, request.slot)
            : "reason" in outcome
              ? `${outcome.kind}: ${outcome.reason}`
              : `${request.slot} was replaced`;
        const answer = { id: request.id, done: outcome?.kind === "done", text, time: clock.now() };
        if (await this.attempt("answer", async () => desk.reply(answer).then(() => true))) {
            this.write({ kind: "request", time: clock.now(), request, done: answer.done, text });
        }
    }

    private async act(action: Action): Promise<Report> {
        const { engine, clock, signal, abort = new AbortController().signal, policy, lease } = this.parts;
        const over = new AbortController();
        const late = () => {
            const controller = new AbortController();
            void clock.sleep(policy.stuckSeconds, over.signal).then(() => {
                if (!over.signal.aborted) controller.abort();
            });
            return controller.signal;
        };
        const { ahead } = this;
        const usable = ahead?.operations && ahead.serverId === action.serverId && clock.now() < ahead.until;
        this.ahead = undefined;
        const report = await replaceServer(action, engine, {
            ...(usable ? { previewed: ahead.operations } : {}),
            confirm: () => this.confirm(action, usable ? ahead.stateVersion : undefined),
            take: () => this.take(action),
            now: () => clock.now(),
            stop: signal,
            abort,
            late,
            ...(lease ? { leads: () => lease.holds(), stamp: { slot: action.slot, epoch: lease.epoch } } : {}),
        });
        over.abort();
        this.fresh = true;
        if (this.leftovers) this.leftovers = { ...this.leftovers, valid: false };
        // Nobody has looked at the other servers meanwhile.
        if (this.memory) this.memory = { ...this.memory, memory: interrupted(this.memory.memory) };
        this.write({ kind: "action", time: clock.now(), action, report });
        const settlement = settlementOf(report);
        if (!settlement) return report;
        const time = clock.now();
        const settled = (memory: Memory) => settle(memory, action, settlement, time, policy);
        this.unsettled = settled;
        if (this.memory) this.memory = { ...this.memory, memory: settled(this.memory.memory) };
        await this.saveWhenDue(0);
        return report;
    }

    /** @param stateVersion the one that was previewed, when that was earlier. */
    private async confirm(action: Action, stateVersion: string | undefined): Promise<boolean> {
        this.fresh = true;
        const [again] = (await this.lookAfterPreview()).actions;
        if (stateVersion !== undefined && this.lastSeen?.deployment.stateVersion !== stateVersion) return false;
        return again?.slot === action.slot && again.serverId === action.serverId;
    }

    private async take(action: Action): Promise<boolean> {
        const { lease, host = "", clock } = this.parts;
        const begun = begin(this.known.memory, action, clock.now(), lease && { epoch: lease.epoch, host });
        // Until the store has answered it is not known what it holds, so it is read again should this fail.
        const { index } = this.known;
        this.memory = undefined;
        const stored = await this.parts.store.save(begun, index, lease);
        if (!stored) return false;
        this.unsettled = undefined;
        this.stored(stored);
        return true;
    }

    private stored(stored: Stored): void {
        this.memory = stored;
        this.saved = { lasting: lasting(stored.memory), time: this.parts.clock.now() };
    }

    /** Saves what must last at once, and the rest when the store's memory is older than so many seconds. */
    private async saveWhenDue(seconds: number): Promise<void> {
        const memory = this.memory;
        if (!memory) return;
        const changed = lasting(memory.memory) !== this.saved.lasting;
        if (!changed && this.parts.clock.now() - this.saved.time < seconds) return;
        await this.attempt("save", async () => {
            const stored = await this.parts.store.save(memory.memory, memory.index, this.parts.lease);
            if (stored) {
                this.unsettled = undefined;
                this.stored(stored);
            } else {
                // Somebody else wrote, such as an operator: theirs counts, and what is not in it is done again.
                this.memory = undefined;
            }
        });
    }
}

/** A preview that was made before there was enough evidence to act. */
interface Ahead {
    readonly serverId: string;
    /** The version of the deployment's state that it is of. */
    readonly stateVersion: string;
    /** Undefined when it failed. */
    readonly operations: readonly Operation[] | undefined;
    /** Seconds since 1970: what the program reads from the cloud may have changed after that. */
    readonly until: number;
}

function sightOf(unsettled: string | undefined): Sight {
    return unsettled === undefined ? { seen: true } : { seen: false, error: unsettled };
}

/** What the memory has to be told of an outcome; undefined when nothing came of it. */
function settlementOf({ outcome }: Report): Settlement | undefined {
    const nothing: readonly Outcome["kind"][] = ["outdated", "notTaken", "stopped", "deposed"];
    return nothing.includes(outcome.kind) ? undefined : (outcome as Settlement);
}
