/** The loop: observe, decide, act, and once more. */
import { type Outcome, type Report, replaceServer } from "./actor";
import type { Clock } from "./clock";
import { type Action, type Decision, decide, signature } from "./decide";
import type { Engine } from "./engine";
import type { Journal, JournalEntry } from "./journal";
import { begin, interrupted, lasting, type Memory, type Settlement, settle } from "./memory";
import type { Observation } from "./observation";
import type { Observe } from "./observe";
import type { ReplacementPolicy } from "./policy";
import type { Store, Stored } from "./store";

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
    /** Told of every decision, whether or not it is worth a line in the journal. May throw. */
    readonly onDecision?: (decision: Decision, observation: Observation) => void;
    /** Told of every entry of the journal, and of what could not be written there. Must not throw. */
    readonly log?: (entry: JournalEntry) => void;
}

/** Runs until its signal is aborted. Whatever fails is journaled and tried again in the next round. */
export async function runLoop(parts: LoopParts): Promise<void> {
    const { clock, policy, signal } = parts;
    const loop = new Loop(parts);
    loop.write({ kind: "start", time: clock.now(), pid: process.pid, policy });
    while (!signal.aborted) {
        await loop.round();
        if (!signal.aborted) await clock.sleep(policy.intervalSeconds, signal);
    }
    await loop.end();
    loop.write({ kind: "stop", time: clock.now(), reason: "told to stop" });
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

    constructor(private readonly parts: LoopParts) {}

    async round(): Promise<void> {
        const { store, policy } = this.parts;
        const memory = this.memory ?? (await this.attempt("memory", () => store.load()));
        if (!memory) return;
        if (!this.memory) this.loaded(memory);
        const decision = await this.attempt("observe", () => this.look());
        if (!decision) return;
        const [action] = decision.actions;
        if (action) await this.act(action);
        else await this.saveWhenDue(policy.maxGapSeconds / 2);
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
        const observation = await observe(this.fresh);
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

    private async act(action: Action): Promise<void> {
        const { engine, clock, signal, abort = new AbortController().signal, policy } = this.parts;
        const report = await replaceServer(action, engine, {
            confirm: () => this.confirm(action),
            take: () => this.take(action),
            now: () => clock.now(),
            stop: signal,
            abort,
        });
        this.fresh = true;
        // Nobody has looked at the other servers meanwhile.
        if (this.memory) this.memory = { ...this.memory, memory: interrupted(this.memory.memory) };
        this.write({ kind: "action", time: clock.now(), action, report });
        const settlement = settlementOf(report);
        if (!settlement) return;
        const time = clock.now();
        const settled = (memory: Memory) => settle(memory, action, settlement, time, policy);
        this.unsettled = settled;
        if (this.memory) this.memory = { ...this.memory, memory: settled(this.memory.memory) };
        await this.saveWhenDue(0);
    }

    private async confirm(action: Action): Promise<boolean> {
        this.fresh = true;
        // The preview may have taken longer than observations may be apart, and that is no reason to begin anew.
        const patient = { ...this.parts.policy, maxGapSeconds: Number.POSITIVE_INFINITY };
        const [again] = (await this.look(patient)).actions;
        return again?.slot === action.slot && again.serverId === action.serverId;
    }

    private async take(action: Action): Promise<boolean> {
        const begun = begin(this.known.memory, action, this.parts.clock.now());
        // Until the store has answered it is not known what it holds, so it is read again should this fail.
        const { index } = this.known;
        this.memory = undefined;
        const stored = await this.parts.store.save(begun, index);
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
            const stored = await this.parts.store.save(memory.memory, memory.index);
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

/** What the memory has to be told of an outcome; undefined when nothing came of it. */
function settlementOf({ outcome }: Report): Settlement | undefined {
    const nothing: readonly Outcome["kind"][] = ["outdated", "notTaken", "stopped"];
    return nothing.includes(outcome.kind) ? undefined : (outcome as Settlement);
}
