/** The rules of replacement, one small function each. */
import type { Evidence } from "./action";
import type { Verdict } from "./decision";
import { inBootGrace, isHardGone, isSoftGone, type Memory, type SlotMemory } from "./loopMemory";
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

/** What the pool's rules judge. The memory already includes the observation. */
export interface PoolFacts {
    readonly observation: Observation;
    readonly memory: Memory;
    readonly policy: ReplacementPolicy;
}

/** What the rules about one slot judge. */
export interface SlotFacts extends PoolFacts {
    readonly slot: SlotObservation;
    readonly remembered: SlotMemory;
    readonly evidence: Evidence;
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
    return { kind: "request", complete: true, soon: true, reason: `requested by ${request.who}: ${request.why}` };
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
        reason: `the control plane says "${slot.controlPlane.state}", but ${slot.consul === "none" ? "" : `Consul (${slot.consul}) and `}the balancers have lost it for ${lost} of ${policy.softSeconds} s`,
    };
}

function verdictOf(rule: string, passed: boolean, good: string, bad: string, inputs: Verdict["inputs"] = {}): Verdict {
    return { gate: rule, passed, reason: passed ? good : bad, inputs };
}

/** The loop is not paused. A pause switch that cannot be read counts as set. */
export function notPaused({ observation: { pause }, policy }: PoolFacts): Verdict {
    const inputs = { configured: policy.paused, switch: pause ?? null };
    const why = policy.paused
        ? "paused by configuration"
        : pause === "unknown"
          ? "the pause switch cannot be read"
          : `paused by ${pause?.who}: ${pause?.why}`;
    return verdictOf("pause", !policy.paused && pause === undefined, "not paused", why, inputs);
}

/** The deployment's state is known. Without it the loop does not know which servers are wanted. */
export function deploymentSeen({ observation: { deployment } }: PoolFacts): Verdict {
    return verdictOf(
        "deployment",
        deployment.seen,
        "the deployment's state is known",
        frozenBecauseBlind(deployment.error),
        {
            error: deployment.error ?? null,
        },
    );
}

/** Consul, where there is one, has a leader and answers. */
export function consulSeen({ observation: { consul } }: PoolFacts): Verdict {
    const good = consul.none ? "there is no Consul" : "Consul has a leader";
    return verdictOf("consulLeader", consul.seen, good, frozenBecauseBlind(consul.error), {
        error: consul.error ?? null,
    });
}

/** The control plane answers. */
export function controlPlaneSeen({ observation: { controlPlane } }: PoolFacts): Verdict {
    return verdictOf(
        "controlPlane",
        controlPlane.seen,
        "the control plane answers",
        frozenBecauseBlind(controlPlane.error),
        {
            error: controlPlane.error ?? null,
        },
    );
}

function frozenBecauseBlind(error: string | undefined): string {
    return `frozen because blind: ${error ?? "no answer"}`;
}

/** How many times `softSeconds` a server must be lost before the loop tries to heal a pool that lost more than it may. */
const CANARY_PATIENCE = 2;

/**
 * Whether one server of a pool that lost more than it may is replaced as a canary.
 *
 * The loss may be an error of the observers, and the cause may break the successors, too. So each server out of service must
 * have been lost for twice the usual time, by at least two observers that answer and none that contradicts. Observers that
 * are down, or know nothing, do not count. The next one follows only once the canary is healthy: as long as a try of
 * any of these slots has not led to a healthy server, there is no other.
 */
export function mayTryCanary({ observation, memory, policy }: PoolFacts): boolean {
    if (!observation.consul.seen || !observation.controlPlane.seen) return false;
    const out = observation.slots.filter((slot) => !isServing(slot));
    return out.every((slot) => {
        const remembered = memory.slots[slot.slot];
        if (!remembered || remembered.lostSince === undefined || isGivenUp(remembered, policy)) return false;
        const consul = slot.consul === "none" ? [] : [registryWord(slot)];
        const words = [...consul, ...Object.values(slot.balancers).map(balancerWord)];
        return (
            words.filter((word) => word === "bad").length >= 2 &&
            remembered.tries.length === 0 &&
            observation.time - remembered.lostSince >= CANARY_PATIENCE * policy.softSeconds
        );
    });
}

/**
 * Fewer than half of the pool's servers (in a pool of one or two: not all) are softly lost at this moment. If more are,
 * an error of the observers is likelier than so many broken servers. Booting and given-up servers do not count. If the
 * loss lasts, see {@link mayTryCanary}.
 */
export function noMassLoss(facts: PoolFacts): Verdict {
    const { observation, memory, policy } = facts;
    const size = observation.slots.length;
    const limit = size <= 2 ? size : Math.ceil(size / 2);
    const lost = observation.slots.filter((slot) => {
        const remembered = memory.slots[slot.slot];
        if (!remembered || inBootGrace(remembered, observation.time, policy)) return false;
        return exists(slot) && registryWord(slot) === "bad" && !isGivenUp(remembered, policy);
    });
    const names = lost.map((slot) => slot.slot);
    return verdictOf(
        "massLoss",
        size === 0 || lost.length < limit || mayTryCanary(facts),
        lost.length < limit
            ? "the pool is not lost as a whole"
            : `${lost.length} of ${size} lost for long: one is tried`,
        `frozen because blind: ${lost.length} of ${plural(size, "server")} lost at once, so more likely ${observation.consul.none ? "the balancers are" : "Consul is"} wrong`,
        { lost: names, size, limit },
    );
}

/** Whether the loop leaves the slot alone because replacing its server did not help. */
export function isGivenUp(slot: SlotMemory, policy: ReplacementPolicy): boolean {
    return slot.stopped !== undefined || slot.tries.length >= policy.triesPerSlot;
}

/** The last replacement has ended: its server has been healthy for long enough, or has failed. */
export function noneInFlight({ memory: { inFlight, slots }, observation: { time }, policy }: PoolFacts): Verdict {
    const healthySince = inFlight && slots[inFlight.slot]?.healthySince;
    const state =
        healthySince === undefined
            ? "not healthy yet"
            : `healthy for ${rounded(time - healthySince)} of ${policy.healthyBetweenSeconds} s`;
    return verdictOf(
        "inFlight",
        inFlight === undefined,
        "no replacement is in flight",
        `the replacement of ${inFlight?.slot} is in flight: ${state}`,
        { inFlight: inFlight ?? null },
    );
}

/** No leftover of an earlier run can collide with a new one: no engine, no lock, no creation that was cut off. */
export function leftoversSettled({ observation: { leftovers } }: PoolFacts): Verdict {
    const why = `an earlier run must be settled first: ${leftovers?.error}`;
    return verdictOf("leftovers", leftovers?.seen !== false, "nothing is left of an earlier run", why, {
        error: leftovers?.error ?? null,
    });
}

/** No wait after an exhausted quota, a refused preview or a locked stack. */
export function notHeld({ memory: { hold }, observation: { time } }: PoolFacts): Verdict {
    const left = hold ? Math.max(0, hold.until - time) : 0;
    return verdictOf("hold", left === 0, "no hold", `held for ${rounded(left)} s: ${hold?.reason}`, {
        hold: hold ?? null,
    });
}

/** The budget of the hour is not used up. */
export function hourlyBudget({ memory: { taken }, observation: { time }, policy }: PoolFacts): Verdict {
    return budgetVerdict("budgetHour", taken, time, HOUR, policy.budgetPerHour, "an hour");
}

/** The budget of the day, which grows with the pool, is not used up. */
export function dailyBudget({ memory: { taken }, observation: { time, slots }, policy }: PoolFacts): Verdict {
    return budgetVerdict("budgetDay", taken, time, DAY, policy.budgetPerDayPerServer * slots.length, "a day");
}

function budgetVerdict(
    rule: string,
    taken: readonly number[],
    time: number,
    span: number,
    limit: number,
    per: string,
): Verdict {
    // Times in the future, from before a clock was set back, count too: that is the safe side.
    const used = taken.filter((at) => time - at < span).length;
    return verdictOf(
        rule,
        used < limit,
        `${limit - used} of ${limit} replacements ${per} left`,
        `all ${plural(limit, "replacement")} ${per} are used up`,
        { used, limit },
    );
}

/** Rules that may pass just because time goes on: evidence grows, and a dead server stops being seen at work. */
export const evidenceRules = { enough: "evidence", contradiction: "contradiction" } as const;

/** The evidence is complete. */
export function enoughEvidence({ evidence }: SlotFacts): Verdict {
    return { gate: evidenceRules.enough, passed: evidence.complete, reason: evidence.reason, inputs: { ...evidence } };
}

/** Consul and a balancer do not both see the server at work. If they do, it is not dead, whatever the control plane says. */
export function noContradiction({ slot, evidence }: SlotFacts): Verdict {
    const words = Object.values(slot.balancers).map(balancerWord);
    const serves = registryWord(slot) === "good" && (words.length === 0 || words.includes("good"));
    return verdictOf(
        evidenceRules.contradiction,
        !(evidence.kind === "hard" && serves),
        "no observer sees it at work",
        "the control plane says that it is gone, but Consul and a balancer see it at work",
        { consul: slot.consul, balancers: slot.balancers },
    );
}

/** The server has had time to boot. Hard evidence does not wait for that. */
export function bootGraceOver({ evidence, remembered, observation: { time }, policy }: SlotFacts): Verdict {
    const age = rounded(time - remembered.activeSince);
    return verdictOf(
        "bootGrace",
        evidence.kind === "hard" || !inBootGrace(remembered, time, policy),
        remembered.passed ? "it has been healthy before" : evidence.kind === "hard" ? "hard evidence" : "grace is over",
        `may be booting: active for ${age} of ${policy.bootGraceSeconds} s and never healthy`,
        { activeSince: remembered.activeSince, passed: remembered.passed },
    );
}

/**
 * Removing this server leaves at most {@link maxGone} servers out of service. Replacing a server that is already gone
 * removes nothing, so hard evidence never trips the breaker. Neither does the first of several that are certainly lost: see
 * {@link mayTryCanary}.
 */
export function breaker(facts: SlotFacts): Verdict {
    const { slot, evidence, policy } = facts;
    const { slots } = facts.observation;
    const others = slots.filter((other) => other.slot !== slot.slot && !isServing(other)).map((other) => other.slot);
    const limit = maxGone(policy, slots.length);
    return verdictOf(
        "breaker",
        evidence.kind === "hard" || others.length + 1 <= limit || (evidence.kind === "soft" && mayTryCanary(facts)),
        evidence.kind === "hard" || others.length + 1 > limit
            ? "removes nothing that serves"
            : `at most ${limit} out of service`,
        `${others.length + 1} would be out of service, but at most ${limit} may be; not serving: ${others.join(", ")}`,
        { outOfService: others, limit },
    );
}

/** The slot is not stopped. */
export function notStopped({ remembered: { stopped } }: SlotFacts): Verdict {
    return verdictOf("stopped", stopped === undefined, "not stopped", `stopped: ${stopped?.reason}`, {
        stopped: stopped ?? null,
    });
}

/** Replacements of this slot have not failed too often. */
export function triesLeft({ remembered: { tries }, policy }: SlotFacts): Verdict {
    return verdictOf(
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
    return verdictOf("backoff", left === 0, "no backoff", `backoff for another ${rounded(left)} s after a failed try`, {
        notBefore: notBefore ?? null,
    });
}

/** Not a dry run. This is the last rule, so that a dry run can report what the loop would do. */
export function notDryRun({ policy }: PoolFacts): Verdict {
    return verdictOf("dryRun", !policy.dryRun, "not a dry run", "dry run: nothing is done", { dryRun: policy.dryRun });
}

/** The rules about the pool as a whole, in the order of the output. */
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

/** The rules about one slot, in the order of the output. */
export const slotRules: readonly ((facts: SlotFacts) => Verdict)[] = [
    enoughEvidence,
    noContradiction,
    bootGraceOver,
    breaker,
    notStopped,
    triesLeft,
    backoffOver,
];
