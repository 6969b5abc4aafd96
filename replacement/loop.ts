/** The loop: observe, decide, act, repeat. */

import type { Clock } from "../lib/clock";
import { type Outcome, type Report, replaceServer } from "./act/actor";
import type { Engine, Operation } from "./act/engine";
import type { Action } from "./core/action";
import { decide, signature, whyNot } from "./core/decide";
import type { Decision } from "./core/decision";
import {
    beginReplacement,
    breakContinuity,
    lastingPart,
    type Memory,
    type Settlement,
    settleReplacement,
} from "./core/loopMemory";
import type { Observation, Sight } from "./core/observation";
import type { ReplacementPolicy } from "./core/policy";
import { type OrphanCleanup, planRecovery, type Step } from "./core/recovery";
import type { Journal, JournalEntry } from "./journal";
import type { Lease } from "./lease";
import type { Observe } from "./observe/observers";
import type { Wake } from "./observe/wake";
import type { OperatorCommands } from "./operatorCommands";
import { FencedOff, type Store, type Stored } from "./store";

/** What the loop works with. */
export interface LoopParts {
    readonly observe: Observe;
    readonly store: Store;
    readonly engine: Engine;
    readonly journal: Journal;
    readonly policy: ReplacementPolicy;
    readonly clock: Clock;
    /** Ends the loop, after a replacement that has begun. */
    readonly signal: AbortSignal;
    /** Interrupts a replacement that has begun. Default: never. */
    readonly abort?: AbortSignal;
    /** The right to act. Losing it ends the loop and interrupts its actions. Default: no other daemon can act. */
    readonly lease?: Lease;
    /** Name of this machine, remembered with each replacement. Default: empty. */
    readonly host?: string;
    /** Settles leftovers of earlier runs. Default: none. */
    readonly orphanCleanup?: OrphanCleanup;
    /** Answers operators' requests. */
    readonly commands?: Pick<OperatorCommands, "reply">;
    /** Ends the wait for the next round early. Default: always waits as long as the policy says. */
    readonly wake?: Wake;
    /** Receives every decision, journaled or not. May throw. */
    readonly onDecision?: (decision: Decision, observation: Observation) => void;
    /** Receives every entry of the journal, and errors of writing it. Must not throw. */
    readonly log?: (entry: JournalEntry) => void;
}

/**
 * Runs until its signal is aborted or its lease is lost. It journals failures and tries again in the next round.
 */
export async function runLoop(loopParts: LoopParts): Promise<void> {
    const { clock, policy, lease } = loopParts;
    const never = new AbortController().signal;
    const either = (signal = never) => (lease ? AbortSignal.any([signal, lease.lost]) : signal);
    const parts = { ...loopParts, signal: either(loopParts.signal), abort: either(loopParts.abort) };
    const { signal } = parts;
    const loop = new Loop(parts);
    const epoch = lease ? { epoch: lease.epoch } : {};
    loop.write({ kind: "start", time: clock.now(), pid: process.pid, policy, ...epoch });
    while (!signal.aborted) {
        await loop.round();
        if (!signal.aborted) await pause(parts, loop.previewing);
    }
    const deposed = lease?.lost.aborted === true;
    await loop.quiet();
    if (!deposed) await loop.end();
    loop.write({ kind: "stop", time: clock.now(), reason: deposed ? "no longer the leader" : "told to stop" });
}

/** Shortest time between two rounds, in seconds, however often something changes. */
const SHORTEST_PAUSE = 1;

/** Waits for the next round: for the interval, or until something has changed, or until `soon` is settled. */
async function pause(
    { clock, policy: { intervalSeconds }, signal, wake }: LoopParts,
    soon: Promise<unknown> | undefined,
): Promise<void> {
    if (intervalSeconds <= SHORTEST_PAUSE || (!wake && !soon)) return clock.sleep(intervalSeconds, signal);
    await clock.sleep(SHORTEST_PAUSE, signal);
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const events = [clock.sleep(intervalSeconds - SHORTEST_PAUSE, either), wake?.(either), soon];
    await Promise.race(events.filter((event) => event !== undefined));
    over.abort();
}

class Loop {
    /** The current memory, and the stored version that it is based on. */
    private memory: Stored | undefined;
    /** The lasting part of the stored memory, and when it was written. */
    private saved = { lasting: "", time: Number.NEGATIVE_INFINITY };
    /** The end of a replacement that is not stored yet. */
    private unsettled: ((memory: Memory) => Memory) | undefined;
    private lastSignature = "";
    /** Current failures, so that each is reported once. */
    private readonly failing = new Map<string, string>();
    /** Whether observers must not use earlier answers, because this loop has changed something. */
    private fresh = true;
    /** Result and time of the last search for leftovers, and whether it is still valid. */
    private leftovers: { readonly unsettled?: string; readonly time: number; readonly valid: boolean } | undefined;
    private lastSeen: Observation | undefined;
    /** The last preview that was made before the evidence was complete. */
    private earlyPreview: EarlyPreview | undefined;
    /** The preview that this round began; once it is there, the loop looks again. */
    previewing: Promise<unknown> | undefined;

    constructor(private readonly parts: LoopParts) {}

    async round(): Promise<void> {
        const { store, policy } = this.parts;
        this.previewing = undefined;
        const memory = this.memory ?? (await this.attempt("memory", () => store.load()));
        if (!memory) return;
        if (!this.memory) this.loaded(memory);
        await this.cleanUp();
        if (!this.memory || this.parts.signal.aborted) return;
        const decision = await this.attempt("observe", () => this.look());
        if (decision?.next) await this.previewAhead(decision.next);
        if (!decision || this.parts.signal.aborted) return;
        const [action] = decision.actions;
        const report = action && (await this.act(action));
        if (!action) await this.saveWhenDue(policy.maxGapSeconds / 2);
        await this.answer(decision, report);
    }

    /** Waits until the engine does nothing more. */
    async quiet(): Promise<void> {
        await this.earlyPreview?.operations;
    }

    /** Stores what has changed. */
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
        this.saved = { lasting: lastingPart(stored.memory), time: this.parts.clock.now() };
        this.memory = this.unsettled ? { ...stored, memory: this.unsettled(stored.memory) } : stored;
    }

    /** Runs a step. Returns undefined when it throws, and journals the error unless it is the same as the last time. */
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
            const { memory: _, ...journaled } = decision;
            this.write({ kind: "decision", time: decision.time, decision: journaled, observation });
        }
        await this.attempt("snapshot", async () => onDecision?.(decision, observation));
        return decision;
    }

    /** Observes and decides without breaking continuity, because a preview may take longer than `maxGapSeconds`. */
    private lookAfterPreview(): Promise<Decision> {
        return this.look({ ...this.parts.policy, maxGapSeconds: Number.POSITIVE_INFINITY });
    }

    /**
     * Begins the preview, which changes nothing, while the loop goes on to look until the evidence is complete; once for
     * each server and version of the state. Awaits only an earlier preview, because the engine makes one at a time.
     */
    private async previewAhead(next: Action): Promise<void> {
        const { engine, clock, signal, policy, lease } = this.parts;
        const stateVersion = this.lastSeen?.deployment.stateVersion;
        const { serverId } = next;
        if (stateVersion === undefined) return;
        if (this.earlyPreview?.serverId === serverId && this.earlyPreview.stateVersion === stateVersion) return;
        await this.earlyPreview?.operations;
        if (signal.aborted) return;
        const replacementEpoch = lease && { slot: next.slot, epoch: lease.epoch };
        const early: EarlyPreview = {
            serverId,
            stateVersion,
            // The replacement's own preview reports errors.
            operations: engine.previewReplace(next.urn, signal, replacementEpoch).catch(() => undefined),
            until: undefined,
        };
        void early.operations.then(() => {
            early.until = clock.now() + policy.maxGapSeconds;
        });
        this.earlyPreview = early;
        this.previewing = early.operations;
    }

    /** Searches for leftovers when a search is due, and settles them. */
    private async cleanUp(): Promise<void> {
        const { orphanCleanup, clock, policy, signal } = this.parts;
        if (!orphanCleanup) return;
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
            const found = await orphanCleanup.search(signal);
            const now = { time: clock.now(), epoch: this.parts.lease?.epoch ?? Number.MAX_SAFE_INTEGER };
            return planRecovery(found, this.known.memory, now, policy);
        });
        if (!plan) {
            // The last result stays valid unless the loop has acted since.
            const unsettled = leftovers?.valid ? leftovers.unsettled : "the search for one failed";
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
        if (plan.steps.length > 0) await this.settleLeftovers(orphanCleanup, plan.steps);
    }

    private async settleLeftovers(orphanCleanup: OrphanCleanup, steps: readonly Step[]): Promise<void> {
        const { store, clock, policy, lease, signal, abort = signal } = this.parts;
        if (policy.paused || policy.dryRun || !this.memory) return;
        const pause = await this.attempt("pause", async () => ({ pressed: (await store.pause()) !== undefined }));
        if (pause?.pressed !== false) return;
        // A step may run the engine, which does one thing at a time.
        await this.quiet();
        this.fresh = true;
        // Only the leader can write, so the write comes first, as before a replacement.
        await this.saveWhenDue(Number.NEGATIVE_INFINITY);
        for (const step of steps) {
            if (!this.memory || signal.aborted || lease?.holds() === false) return;
            const error = await orphanCleanup.carryOut(step, abort).then(
                () => undefined,
                (thrown: Error) => thrown.message,
            );
            const sign = `${step.kind} ${step.reason}`;
            // Report a repeated failure once.
            if (error !== undefined && this.failing.get(sign) === error) continue;
            if (error !== undefined) this.failing.set(sign, error);
            else this.failing.delete(sign);
            this.write({ kind: "recovery", time: clock.now(), step, ...(error === undefined ? {} : { error }) });
        }
    }

    /** Answers the operator's request that was part of this decision. */
    private async answer(decision: Decision, report: Report | undefined): Promise<void> {
        const { commands, clock } = this.parts;
        const request = this.lastSeen?.request;
        if (!commands || !request) return;
        const acted = report !== undefined && decision.actions[0]?.slot === request.slot;
        const outcome = acted ? report.outcome : undefined;
        const text = !outcome
            ? whyNot(decision, request.slot)
            : "reason" in outcome
              ? `${outcome.kind}: ${outcome.reason}`
              : `${request.slot} was replaced`;
        const answer = { id: request.id, done: outcome?.kind === "done", text, time: clock.now() };
        if (await this.attempt("answer", async () => commands.reply(answer).then(() => true))) {
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
        const { earlyPreview } = this;
        this.earlyPreview = undefined;
        let previewedVersion: string | undefined;
        const previewed = async () => {
            // A preview of another server is awaited, too: the engine does one thing at a time.
            const operations = await earlyPreview?.operations;
            if (operations === undefined || earlyPreview?.serverId !== action.serverId) return undefined;
            if (clock.now() >= (earlyPreview.until ?? 0)) return undefined;
            previewedVersion = earlyPreview.stateVersion;
            return operations;
        };
        const report = await replaceServer(action, engine, {
            previewed: previewed(),
            confirm: () => this.confirm(action, previewedVersion),
            takeBudget: () => this.take(action),
            now: () => clock.now(),
            stop: signal,
            abort,
            late,
            ...(lease
                ? { leads: () => lease.holds(), replacementEpoch: { slot: action.slot, epoch: lease.epoch } }
                : {}),
        });
        over.abort();
        this.fresh = true;
        if (this.leftovers) this.leftovers = { ...this.leftovers, valid: false };
        // Nobody has observed the other servers in the meantime.
        if (this.memory) this.memory = { ...this.memory, memory: breakContinuity(this.memory.memory) };
        this.write({ kind: "action", time: clock.now(), action, report });
        const settlement = settlementOf(report);
        if (!settlement) return report;
        const time = clock.now();
        const settled = (memory: Memory) => settleReplacement(memory, action, settlement, time, policy);
        this.unsettled = settled;
        if (this.memory) this.memory = { ...this.memory, memory: settled(this.memory.memory) };
        await this.saveWhenDue(0);
        return report;
    }

    /** @param stateVersion the version of an earlier preview; undefined when the preview was made just now. */
    private async confirm(action: Action, stateVersion: string | undefined): Promise<boolean> {
        this.fresh = true;
        const [again] = (await this.lookAfterPreview()).actions;
        if (stateVersion !== undefined && this.lastSeen?.deployment.stateVersion !== stateVersion) return false;
        return again?.slot === action.slot && again.serverId === action.serverId;
    }

    private async take(action: Action): Promise<boolean> {
        const { lease, host = "", clock } = this.parts;
        const begun = beginReplacement(this.known.memory, action, clock.now(), lease && { epoch: lease.epoch, host });
        // If this write fails, nobody knows what the store holds, so the loop reads it again.
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
        this.saved = { lasting: lastingPart(stored.memory), time: this.parts.clock.now() };
    }

    /** Saves lasting changes at once, and the rest when the stored memory is older than `seconds`. */
    private async saveWhenDue(seconds: number): Promise<void> {
        const memory = this.memory;
        if (!memory) return;
        const changed = lastingPart(memory.memory) !== this.saved.lasting;
        if (!changed && this.parts.clock.now() - this.saved.time < seconds) return;
        await this.attempt("save", async () => {
            const stored = await this.parts.store.save(memory.memory, memory.index, this.parts.lease);
            if (stored) {
                this.unsettled = undefined;
                this.stored(stored);
            } else {
                // Somebody else, such as an operator, has written. Their memory counts, so the loop reads it again.
                this.memory = undefined;
            }
        });
    }
}

/** A preview that was made before the evidence was complete. */
interface EarlyPreview {
    readonly serverId: string;
    /** The version of the deployment's state that it previewed. */
    readonly stateVersion: string;
    /** Undefined when it failed. */
    readonly operations: Promise<readonly Operation[] | undefined>;
    /** Seconds since 1970. After that, what the program reads from the cloud may have changed. Undefined until it is made. */
    until: number | undefined;
}

function sightOf(unsettled: string | undefined): Sight {
    return unsettled === undefined ? { seen: true } : { seen: false, error: unsettled };
}

/** What the memory records of an outcome; undefined when nothing happened. */
function settlementOf({ outcome }: Report): Settlement | undefined {
    const withoutEffect: readonly Outcome["kind"][] = ["outdated", "notTaken", "stopped", "deposed"];
    return withoutEffect.includes(outcome.kind) ? undefined : (outcome as Settlement);
}
