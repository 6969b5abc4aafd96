/** The rules of replacement, one small function each. A rule looks at what is known and passes its verdict. */

import { inBootGrace, isHardGone, isSoftGone, type Memory, type SlotMemory } from "./memory";
import {
    balancerWord,
    exists,
    isServing,
    type Observation,
    type ReplaceRequest,
    registryWord,
    type SlotObservation,
} from "./observation";
import { maxGone, type ReplacementPolicy } from "./policy";

/** What one rule says, and of what it judged. */
export interface Verdict {
    readonly gate: string;
    readonly passed: boolean;
    /** One clause for people. */
    readonly reason: string;
    readonly inputs: Readonly<Record<string, unknown>>;
}

/** What rules about the pool judge of; the memory already holds the observation. */
export interface PoolFacts {
    readonly observation: Observation;
    readonly memory: Memory;
    readonly policy: ReplacementPolicy;
}

/** What rules about one slot judge of. */
export interface SlotFacts extends PoolFacts {
    readonly slot: SlotObservation;
    readonly remembered: SlotMemory;
    readonly evidence: Evidence;
}

/**
 * Evidence against a server. Hard: the control plane says that it is gone or failed. Soft: it exists, but it is lost
 * for Consul and the balancers. Request: an operator wants it replaced.
 */
export interface Evidence {
    readonly kind: "hard" | "soft" | "request";
    /** Whether there is enough of it to act. */
    readonly complete: boolean;
    /** Whether there will be within half of the policy's `maxGapSeconds`, should nothing speak for the server. */
    readonly soon: boolean;
    readonly since?: number;
    readonly reason: string;
}

const HOUR = 3600;
const DAY = 86_400;

const rounded = (seconds: number) => Math.round(seconds * 10) / 10;
const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The evidence against a slot's server, or undefined when there is none. */
export function evidenceAgainst(
    slot: SlotObservation,
    remembered: SlotMemory,
    time: number,
    policy: ReplacementPolicy,
    request?: ReplaceRequest,
): Evidence | undefined {
    const found = evidenceSeen(slot, remembered, time, policy);
    if (request?.slot !== slot.slot || found?.complete) return found;
    return { kind: "request", complete: true, soon: true, reason: `asked for by ${request.who}: ${request.why}` };
}

function evidenceSeen(
    slot: SlotObservation,
    remembered: SlotMemory,
    time: number,
    policy: ReplacementPolicy,
): Evidence | undefined {
    if (remembered.hard) {
        const detail = slot.controlPlane.detail ? ` (${slot.controlPlane.detail})` : "";
        return {
            kind: "hard",
            complete: isHardGone(remembered, policy),
            soon: true,
            reason: `the control plane says "${slot.controlPlane.state}"${detail}, seen ${Math.min(
                remembered.hard.count,
                policy.hardSightings,
            )} of ${policy.hardSightings} times`,
        };
    }
    if (remembered.lostSince === undefined) return undefined;
    const lost = rounded(time - remembered.lostSince);
    return {
        kind: "soft",
        complete: isSoftGone(remembered, time, policy),
        soon: isSoftGone(remembered, time + policy.maxGapSeconds / 2, policy),
        since: remembered.lostSince,
        reason: `${slot.controlPlane.state} for the control plane, but lost for ${slot.consul === "none" ? "" : `Consul (${slot.consul}) and `}the balancers for ${lost} of ${policy.softSeconds} s`,
    };
}

function verdict(gate: string, passed: boolean, good: string, bad: string, inputs: Verdict["inputs"] = {}): Verdict {
    return { gate, passed, reason: passed ? good : bad, inputs };
}

/** Nobody pressed the pause switch. A switch that cannot be read counts as pressed. */
export function notPaused({ observation: { pause }, policy }: PoolFacts): Verdict {
    const inputs = { configured: policy.paused, switch: pause ?? null };
    const why = policy.paused
        ? "paused by configuration"
        : pause === "unknown"
          ? "the pause switch cannot be read"
          : `paused by ${pause?.who}: ${pause?.why}`;
    return verdict("pause", !policy.paused && pause === undefined, "not paused", why, inputs);
}

/** The deployment's state is known: otherwise nobody knows which servers are wanted. */
export function deploymentSeen({ observation: { deployment } }: PoolFacts): Verdict {
    return verdict("deployment", deployment.seen, "the deployment's state is known", blind(deployment.error), {
        error: deployment.error ?? null,
    });
}

/** Consul has a leader and answers, where there is one. */
export function consulSeen({ observation: { consul } }: PoolFacts): Verdict {
    const good = consul.none ? "there is no Consul" : "Consul has a leader";
    return verdict("consulLeader", consul.seen, good, blind(consul.error), {
        error: consul.error ?? null,
    });
}

/** The control plane answers. */
export function controlPlaneSeen({ observation: { controlPlane } }: PoolFacts): Verdict {
    return verdict("controlPlane", controlPlane.seen, "the control plane answers", blind(controlPlane.error), {
        error: controlPlane.error ?? null,
    });
}

function blind(error: string | undefined): string {
    return `frozen because blind: ${error ?? "no answer"}`;
}

/**
 * Not half the pool or more (at a size of two or one: all of it) is lost softly at this moment. More likely than so many
 * broken servers is an error of those who observe them. Booting servers do not count, nor those that were given up.
 */
export function noMassLoss({ observation, memory, policy }: PoolFacts): Verdict {
    const size = observation.slots.length;
    const limit = size <= 2 ? size : Math.ceil(size / 2);
    const lost = observation.slots.filter((slot) => {
        const remembered = memory.slots[slot.slot];
        if (!remembered || inBootGrace(remembered, observation.time, policy)) return false;
        return exists(slot) && registryWord(slot) === "bad" && !isGivenUp(remembered, policy);
    });
    const names = lost.map((slot) => slot.slot);
    return verdict(
        "massLoss",
        size === 0 || lost.length < limit,
        "the pool is not lost as a whole",
        `frozen because blind: ${lost.length} of ${plural(size, "server")} lost at once, which rather speaks against ${observation.consul.none ? "the balancers" : "Consul"}`,
        { lost: names, size, limit },
    );
}

/** Whether a slot is left alone because replacing it did not help. */
export function isGivenUp(slot: SlotMemory, policy: ReplacementPolicy): boolean {
    return slot.stopped !== undefined || slot.tries.length >= policy.triesPerSlot;
}

/** The last replacement has come to its end: its server was healthy for long enough, or has failed. */
export function noneInFlight({ memory: { inFlight, slots }, observation: { time }, policy }: PoolFacts): Verdict {
    const healthySince = inFlight && slots[inFlight.slot]?.healthySince;
    const state =
        healthySince === undefined
            ? "not healthy yet"
            : `healthy for ${rounded(time - healthySince)} of ${policy.healthyBetweenSeconds} s`;
    return verdict(
        "inFlight",
        inFlight === undefined,
        "no replacement is in flight",
        `the replacement of ${inFlight?.slot} is in flight: ${state}`,
        { inFlight: inFlight ?? null },
    );
}

/** Nothing of an earlier run is left that a new one could collide with: an engine, a lock, a server being created. */
export function leftoversSettled({ observation: { leftovers } }: PoolFacts): Verdict {
    const why = `an earlier run is to be settled first: ${leftovers?.error}`;
    return verdict("leftovers", leftovers?.seen !== false, "nothing is left of an earlier run", why, {
        error: leftovers?.error ?? null,
    });
}

/** No wait after a used-up quota, a refused preview or a locked stack. */
export function notHeld({ memory: { hold }, observation: { time } }: PoolFacts): Verdict {
    const left = hold ? Math.max(0, hold.until - time) : 0;
    return verdict("hold", left === 0, "no hold", `held for ${rounded(left)} s: ${hold?.reason}`, {
        hold: hold ?? null,
    });
}

/** The budget of the hour. */
export function hourlyBudget({ memory: { taken }, observation: { time }, policy }: PoolFacts): Verdict {
    return budget("budgetHour", taken, time, HOUR, policy.budgetPerHour, "an hour");
}

/** The budget of the day, which grows with the pool. */
export function dailyBudget({ memory: { taken }, observation: { time, slots }, policy }: PoolFacts): Verdict {
    return budget("budgetDay", taken, time, DAY, policy.budgetPerDayPerServer * slots.length, "a day");
}

function budget(
    gate: string,
    taken: readonly number[],
    time: number,
    span: number,
    limit: number,
    per: string,
): Verdict {
    // Times in the future, from before a clock was set back, count too: that errs on the safe side.
    const used = taken.filter((at) => time - at < span).length;
    return verdict(
        gate,
        used < limit,
        `${limit - used} of ${limit} replacements ${per} left`,
        `all ${plural(limit, "replacement")} ${per} are used up`,
        { used, limit },
    );
}

/** Gates that open by themselves as time goes on: the evidence grows, and what is dead stops being seen at work. */
export const evidenceGates = { enough: "evidence", contradiction: "contradiction" } as const;

/** There is enough evidence. */
export function enoughEvidence({ evidence }: SlotFacts): Verdict {
    return { gate: evidenceGates.enough, passed: evidence.complete, reason: evidence.reason, inputs: { ...evidence } };
}

/** A server that Consul and a balancer see at work is not dead, whatever the control plane says. */
export function noContradiction({ slot, evidence }: SlotFacts): Verdict {
    const words = Object.values(slot.balancers).map(balancerWord);
    const serves = registryWord(slot) === "good" && (words.length === 0 || words.includes("good"));
    return verdict(
        evidenceGates.contradiction,
        !(evidence.kind === "hard" && serves),
        "no observer sees it at work",
        "gone for the control plane, but Consul and a balancer see it at work",
        { consul: slot.consul, balancers: slot.balancers },
    );
}

/** The server has had the time to boot. Hard evidence does not wait for that. */
export function bootGraceOver({ evidence, remembered, observation: { time }, policy }: SlotFacts): Verdict {
    const age = rounded(time - remembered.activeSince);
    return verdict(
        "bootGrace",
        evidence.kind === "hard" || !inBootGrace(remembered, time, policy),
        remembered.passed ? "it has been healthy before" : evidence.kind === "hard" ? "hard evidence" : "grace is over",
        `may be booting: active for ${age} of ${policy.bootGraceSeconds} s and never healthy`,
        { activeSince: remembered.activeSince, passed: remembered.passed },
    );
}

/**
 * Taking this server away leaves no more than {@link maxGone} out of service. A server that is gone already is not taken
 * away by its replacement, so hard evidence never trips the breaker.
 */
export function breaker({ slot, evidence, observation: { slots }, policy }: SlotFacts): Verdict {
    const others = slots.filter((other) => other.slot !== slot.slot && !isServing(other)).map((other) => other.slot);
    const limit = maxGone(policy, slots.length);
    return verdict(
        "breaker",
        evidence.kind === "hard" || others.length + 1 <= limit,
        evidence.kind === "hard" ? "nothing that serves is taken away" : `at most ${limit} out of service`,
        `${others.length + 1} would be out of service, and ${limit} may be: ${others.join(", ")} do not serve`,
        { outOfService: others, limit },
    );
}

/** The slot was not stopped by an invalid configuration. */
export function notStopped({ remembered: { stopped } }: SlotFacts): Verdict {
    return verdict("stopped", stopped === undefined, "not stopped", `stopped: ${stopped?.reason}`, {
        stopped: stopped ?? null,
    });
}

/** Replacing this slot's server has not failed too often. */
export function triesLeft({ remembered: { tries }, policy }: SlotFacts): Verdict {
    return verdict(
        "tries",
        tries.length < policy.triesPerSlot,
        `${policy.triesPerSlot - tries.length} of ${plural(policy.triesPerSlot, "try").replace("trys", "tries")} left`,
        `given up after ${tries.length} tries in ${policy.triesWindowSeconds} s`,
        { tries, limit: policy.triesPerSlot },
    );
}

/** The wait after this slot's last failed try is over. */
export function backoffOver({ remembered: { notBefore }, observation: { time } }: SlotFacts): Verdict {
    const left = notBefore === undefined ? 0 : Math.max(0, notBefore - time);
    return verdict("backoff", left === 0, "no backoff", `backoff for another ${rounded(left)} s after a failed try`, {
        notBefore: notBefore ?? null,
    });
}

/** Not a dry run. The last rule, so that a dry run says what would have been done. */
export function notDryRun({ policy }: PoolFacts): Verdict {
    return verdict("dryRun", !policy.dryRun, "not a dry run", "dry run: nothing is done", { dryRun: policy.dryRun });
}

/** The rules about the pool as a whole, in the order in which they are told. */
export const poolRules: readonly ((facts: PoolFacts) => Verdict)[] = [
    notPaused,
    deploymentSeen,
    consulSeen,
    controlPlaneSeen,
    noMassLoss,
    leftoversSettled,
    noneInFlight,
    notHeld,
    hourlyBudget,
    dailyBudget,
];

/** The rules about one slot, in the order in which they are told. */
export const slotRules: readonly ((facts: SlotFacts) => Verdict)[] = [
    enoughEvidence,
    noContradiction,
    bootGraceOver,
    breaker,
    notStopped,
    triesLeft,
    backoffOver,
];
