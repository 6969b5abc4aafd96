/** The heart of the loop: what to do, from what is seen and remembered. No clock, no I/O, no chance. */
import { inBootGrace, type Memory, remember, type SlotMemory } from "./memory";
import { isHealthy, type Observation, type SlotObservation } from "./observation";
import type { ReplacementPolicy } from "./policy";
import {
    type Evidence,
    evidenceAgainst,
    evidenceGates,
    notDryRun,
    type PoolFacts,
    poolRules,
    slotRules,
    type Verdict,
} from "./rules";

/** Replace the server of one slot by a new one. */
export interface Action {
    readonly kind: "replace";
    readonly slot: string;
    readonly urn: string;
    /** The server to be replaced. */
    readonly serverId: string;
    readonly evidence: Evidence["kind"];
    readonly reason: string;
}

/** How a slot is: `starting` has never been healthy and may still be booting; `suspect` is anything else between. */
export type Condition = "healthy" | "starting" | "suspect" | "lost" | "gone";

/** What was decided about one slot. */
export interface SlotDecision {
    readonly slot: string;
    readonly serverId: string;
    readonly condition: Condition;
    readonly evidence?: Evidence;
    /** The rules about this slot; none when there is no evidence against its server. */
    readonly verdicts: readonly Verdict[];
}

/** What was decided, with every rule's verdict. */
export interface Decision {
    readonly time: number;
    /** What to do now: one replacement, or nothing. */
    readonly actions: readonly Action[];
    /** What would be done were it not a dry run. */
    readonly wouldAct?: Action;
    /** What is to be done when the evidence is complete, which it will be soon. Only when there is nothing to do now. */
    readonly next?: Action;
    /** For people: why this is done, and why what one may expect is not. */
    readonly reasons: readonly string[];
    /** The rules about the pool as a whole. */
    readonly pool: readonly Verdict[];
    readonly slots: readonly SlotDecision[];
    /** What to remember. An action is not in it: it enters when it is begun. */
    readonly memory: Memory;
}

/** Decides. The same arguments always give the same decision; nothing is changed or done. */
export function decide(observation: Observation, before: Memory, policy: ReplacementPolicy): Decision {
    const memory = remember(observation, before, policy);
    const facts: PoolFacts = { observation, memory, policy };
    const pool = poolRules.map((rule) => rule(facts));
    const slots = observation.slots.flatMap((slot) => {
        const remembered = memory.slots[slot.slot];
        return remembered ? [judge(facts, slot, remembered)] : [];
    });
    const poolPasses = pool.every((verdict) => verdict.passed);
    const action = poolPasses ? choose(slots.filter(isReady), observation) : undefined;
    const dryRun = notDryRun(facts);
    const next = poolPasses && dryRun.passed && !action ? choose(slots.filter(isReadySoon), observation) : undefined;
    const blocked = pool.filter((verdict) => !verdict.passed);
    return {
        time: observation.time,
        actions: action && dryRun.passed ? [action] : [],
        ...(action && !dryRun.passed ? { wouldAct: action } : {}),
        ...(next ? { next } : {}),
        reasons: explain(slots, blocked, action, dryRun),
        pool: [...pool, dryRun],
        slots,
        memory,
    };
}

function judge(facts: PoolFacts, slot: SlotObservation, remembered: SlotMemory): SlotDecision {
    const { time } = facts.observation;
    const evidence = evidenceAgainst(slot, remembered, time, facts.policy, facts.observation.request);
    return {
        slot: slot.slot,
        serverId: slot.serverId,
        condition: conditionOf(slot, remembered, evidence, time, facts.policy),
        ...(evidence
            ? { evidence, verdicts: slotRules.map((rule) => rule({ ...facts, slot, remembered, evidence })) }
            : { verdicts: [] }),
    };
}

function conditionOf(
    slot: SlotObservation,
    remembered: SlotMemory,
    evidence: Evidence | undefined,
    time: number,
    policy: ReplacementPolicy,
): Condition {
    if (evidence?.kind === "hard") return "gone";
    if (isHealthy(slot)) return "healthy";
    if (inBootGrace(remembered, time, policy)) return "starting";
    return evidence ? "lost" : "suspect";
}

/** All rules let it through. */
function isReady({ evidence, verdicts }: SlotDecision): boolean {
    return evidence !== undefined && verdicts.every(({ passed }) => passed);
}

/** Only evidence is missing, and not for long. */
function isReadySoon({ evidence, verdicts }: SlotDecision): boolean {
    const waitsFor: readonly string[] = Object.values(evidenceGates);
    return evidence?.soon === true && verdicts.every(({ passed, gate }) => passed || waitsFor.includes(gate));
}

/** The first of the candidates: those with hard evidence first, requests last, then by name. */
function choose(candidates: readonly SlotDecision[], observation: Observation): Action | undefined {
    const ranks = { hard: 0, soft: 1, request: 2 } as const;
    const rank = (slot: SlotDecision) => ranks[slot.evidence?.kind ?? "request"];
    const [chosen] = [...candidates].sort((a, b) => rank(a) - rank(b) || (a.slot < b.slot ? -1 : 1));
    const slot = observation.slots.find((candidate) => candidate.slot === chosen?.slot);
    if (!slot || !chosen?.evidence) return undefined;
    const { kind: evidence, reason } = chosen.evidence;
    return { kind: "replace", slot: slot.slot, urn: slot.urn, serverId: slot.serverId, evidence, reason };
}

function explain(
    slots: readonly SlotDecision[],
    blocked: readonly Verdict[],
    action: Action | undefined,
    dryRun: Verdict,
): string[] {
    const accused = slots.filter((slot) => slot.evidence);
    const poolReasons = blocked.map((verdict) => verdict.reason);
    if (accused.length === 0) {
        const healthy = slots.filter((slot) => slot.condition === "healthy").length;
        return [`${healthy} of ${slots.length} servers healthy, no evidence against any`, ...poolReasons];
    }
    return accused.map((slot) => {
        if (slot.slot === action?.slot) {
            const verb = dryRun.passed ? "replace" : "would replace";
            return `${verb} ${slot.slot} (${slot.evidence?.kind} evidence): ${slot.evidence?.reason}`;
        }
        const failing = slot.verdicts.filter((verdict) => !verdict.passed).map((verdict) => verdict.reason);
        const against = [...failing, ...poolReasons];
        const first = against.length > 0 ? against.join("; ") : `${action?.slot} comes first`;
        return `${slot.slot} is ${slot.condition}, not replaced: ${first}`;
    });
}

/** Why a slot's server is not replaced by this decision, for whoever asked for it. */
export function whyNot({ slots, pool, actions }: Decision, name: string): string {
    const slot = slots.find((decided) => decided.slot === name);
    const failing = [...(slot?.verdicts ?? []), ...pool].filter(({ passed }) => !passed).map(({ reason }) => reason);
    if (!slot) {
        const known = slots.map((decided) => decided.slot).join(", ") || "none that is known";
        failing.unshift(`there is no slot "${name}": there are ${known}`);
    }
    return failing.length > 0 ? failing.join("; ") : `${actions[0]?.slot ?? "another slot"} comes first`;
}

/**
 * What of a decision is worth a new line in the journal: two decisions with the same signature differ only in how much
 * time has passed.
 */
export function signature(decision: Decision): string {
    const gates = (verdicts: readonly Verdict[]) => verdicts.map(({ gate, passed }) => [gate, passed]);
    return JSON.stringify([
        gates(decision.pool),
        decision.slots.map((slot) => [slot.slot, slot.serverId, slot.condition, gates(slot.verdicts)]),
        decision.actions,
    ]);
}
