/** What the loop decides, with every rule's verdict. */
import type { Action, Evidence } from "./action";
import type { Memory } from "./loopMemory";

/** A slot's condition. A `starting` server has never been healthy and may still be booting. `suspect`: none of the others. */
export type Condition = "healthy" | "starting" | "suspect" | "lost" | "gone";

/** The decision about one slot. */
export interface SlotDecision {
    readonly slot: string;
    readonly serverId: string;
    readonly condition: Condition;
    readonly evidence?: Evidence;
    /** Verdicts of the slot's rules; empty when there is no evidence against its server. */
    readonly verdicts: readonly Verdict[];
}

/** A decision, with every rule's verdict. */
export interface Decision {
    readonly time: number;
    /** What to do now: one replacement, or nothing. */
    readonly actions: readonly Action[];
    /** What the loop would do if this were not a dry run. */
    readonly wouldAct?: Action;
    /** What the loop will do once the evidence is complete, which will be soon. Absent when there is something to do now. */
    readonly next?: Action;
    /** For people: why the loop acts, or why it does not. */
    readonly reasons: readonly string[];
    /** Verdicts of the pool's rules. */
    readonly pool: readonly Verdict[];
    readonly slots: readonly SlotDecision[];
    /** What to remember. An action enters the memory only when the loop begins it. */
    readonly memory: Memory;
}

/** What one rule says, and why. */
export interface Verdict {
    /** The rule's name. */
    readonly gate: string;
    readonly passed: boolean;
    /** One clause for people. */
    readonly reason: string;
    readonly inputs: Readonly<Record<string, unknown>>;
}
