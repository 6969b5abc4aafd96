/** Decides what to do, from an observation and the loop's memory. Pure: no clock, no I/O, no randomness. */
import type { Action, Evidence } from "./action";
import type { Condition, Decision, SlotDecision, Verdict } from "./decision";
import { inBootGrace, type Memory, remember, type SlotMemory } from "./loopMemory";
import { isHealthy, type Observation, type SlotObservation } from "./observation";
import type { ReplacementPolicy } from "./policy";
import { evidenceAgainst, evidenceRules, notDryRun, type PoolFacts, poolRules, slotRules } from "./rules";

/** Decides what to do. The same arguments always give the same decision. */
export function decide(observation: Observation, before: Memory, policy: ReplacementPolicy): Decision {
    const memory = remember(observation, before, policy);
    const facts: PoolFacts = { observation, memory, policy };
    const pool = poolRules.map((rule) => rule(facts));
    const slots = observation.slots.flatMap((slot) => {
        const remembered = memory.slots[slot.slot];
        return remembered ? [decideSlot(facts, slot, remembered)] : [];
    });
    const poolPasses = pool.every((verdict) => verdict.passed);
    const action = poolPasses ? chooseAction(slots.filter(isReady), observation) : undefined;
    const dryRun = notDryRun(facts);
    const next =
        poolPasses && dryRun.passed && !action ? chooseAction(slots.filter(isReadySoon), observation) : undefined;
    const blocked = pool.filter((verdict) => !verdict.passed);
    return {
        time: observation.time,
        actions: action && dryRun.passed ? [action] : [],
        ...(action && !dryRun.passed ? { wouldAct: action } : {}),
        ...(next ? { next } : {}),
        reasons: reasonsOf(slots, blocked, action, dryRun),
        pool: [...pool, dryRun],
        slots,
        memory,
    };
}

function decideSlot(facts: PoolFacts, slot: SlotObservation, remembered: SlotMemory): SlotDecision {
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

function isReady({ evidence, verdicts }: SlotDecision): boolean {
    return evidence !== undefined && verdicts.every(({ passed }) => passed);
}

/** Whether only evidence is missing, and will be complete soon. */
function isReadySoon({ evidence, verdicts }: SlotDecision): boolean {
    const waitsFor: readonly string[] = Object.values(evidenceRules);
    return evidence?.soon === true && verdicts.every(({ passed, gate }) => passed || waitsFor.includes(gate));
}

/** The action for the first candidate: hard evidence comes first, requests come last, then by name. */
function chooseAction(candidates: readonly SlotDecision[], observation: Observation): Action | undefined {
    const ranks = { hard: 0, soft: 1, request: 2 } as const;
    const rank = (slot: SlotDecision) => ranks[slot.evidence?.kind ?? "request"];
    const [chosen] = [...candidates].sort((a, b) => rank(a) - rank(b) || (a.slot < b.slot ? -1 : 1));
    const slot = observation.slots.find((candidate) => candidate.slot === chosen?.slot);
    if (!slot || !chosen?.evidence) return undefined;
    const { kind: evidence, reason } = chosen.evidence;
    return { kind: "replace", slot: slot.slot, urn: slot.urn, serverId: slot.serverId, evidence, reason };
}

function reasonsOf(
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

/** Why this decision does not replace a slot's server, for the operator who asked for it. */
export function whyNot({ slots, pool, actions }: Decision, name: string): string {
    const slot = slots.find((decided) => decided.slot === name);
    const failing = [...(slot?.verdicts ?? []), ...pool].filter(({ passed }) => !passed).map(({ reason }) => reason);
    if (!slot) {
        const known = slots.map((decided) => decided.slot).join(", ") || "none";
        failing.unshift(`unknown slot "${name}"; known slots: ${known}`);
    }
    return failing.length > 0 ? failing.join("; ") : `${actions[0]?.slot ?? "another slot"} comes first`;
}

/**
 * The part of a decision that the journal records when it changes. Two decisions with the same signature differ only
 * in how much time has passed.
 */
export function signature(decision: Decision): string {
    const passed = (verdicts: readonly Verdict[]) => verdicts.map((verdict) => [verdict.gate, verdict.passed]);
    return JSON.stringify([
        passed(decision.pool),
        decision.slots.map((slot) => [slot.slot, slot.serverId, slot.condition, passed(slot.verdicts)]),
        decision.actions,
    ]);
}
