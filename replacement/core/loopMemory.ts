/** What the loop remembers between rounds and across restarts. Plain JSON; every function here is pure. */
import { z } from "zod";
import type { Action } from "./action";
import { exists, isHealthy, isLost, type Observation, type SlotObservation } from "./observation";
import { backoffSeconds, type ReplacementPolicy } from "./policy";

const time = z.number();

const slotMemorySchema = z.strictObject({
    /** The server that these facts are about. `tries`, `notBefore` and `stopped` are about the slot. */
    serverId: z.string(),
    /** Start of the boot grace: when the server became active, or when the loop first saw it. */
    activeSince: time,
    /** The server failed because the cloud had no room for it. */
    noRoom: z.boolean().optional(),
    /** Whether it has ever been healthy, which ends the boot grace. */
    passed: z.boolean(),
    /** Consecutive sightings of a server that is gone or failed. */
    hard: z.strictObject({ count: z.number(), last: time }).optional(),
    /** Since when it has been lost without interruption. */
    lostSince: time.optional(),
    /** Since when it has been healthy without interruption. */
    healthySince: time.optional(),
    /** Start times of this slot's replacements that have not (yet) produced a healthy server. */
    tries: z.array(time),
    /** Earliest time of the next try. */
    notBefore: time.optional(),
    /** The loop leaves the slot alone until its server changes or an operator resumes it. */
    stopped: z.strictObject({ time, reason: z.string(), serverId: z.string() }).optional(),
});

const inFlightSchema = z.strictObject({
    slot: z.string(),
    evidence: z.enum(["hard", "soft", "request"]),
    /** The server that it replaces. */
    serverId: z.string(),
    startedAt: time,
    /** The epoch of the leader that began it. */
    epoch: z.number().optional(),
    /** When the engine was done. Absent for a replacement that was interrupted. */
    finishedAt: time.optional(),
    interrupted: z.boolean().optional(),
});

/** Validates a memory that was read from a store. */
export const memorySchema = z.strictObject({
    version: z.literal(1),
    /** Time of the last observation. */
    observedAt: time.optional(),
    slots: z.record(z.string(), slotMemorySchema),
    /** The budget: start times of the replacements in the last 24 hours, oldest first. */
    taken: z.array(time),
    /** The replacement whose server has neither proven healthy nor failed yet. */
    inFlight: inFlightSchema.optional(),
    /** Who began the last replacement: the leader's epoch and its machine's name. */
    author: z.strictObject({ epoch: z.number(), host: z.string() }).optional(),
    /** When the loop first saw each leftover of earlier runs, by kind and id. */
    sightings: z.record(z.string(), time).optional(),
    /** The loop replaces nothing before this time. */
    hold: z.strictObject({ until: time, reason: z.string() }).optional(),
});

/** What the loop remembers of one slot. Times are in seconds since 1970. */
export type SlotMemory = z.infer<typeof slotMemorySchema>;
/** A replacement that has begun and not ended. */
export type InFlight = z.infer<typeof inFlightSchema>;
/** Everything that the loop remembers. */
export type Memory = z.infer<typeof memorySchema>;

/** The memory of a loop that has never run. */
export const emptyMemory: Memory = { version: 1, slots: {}, taken: [] };

const DAY = 86_400;

/** How a replacement ended, for the memory. */
export type Settlement =
    | { readonly kind: "done" }
    | { readonly kind: "refused" | "locked" | "quota" | "invalid" | "failed" | "stuck"; readonly reason: string };

/** Whether the loop sees everything that it needs to decide. */
export function canSeeAll(observation: Observation): boolean {
    return observation.deployment.seen && observation.consul.seen && observation.controlPlane.seen;
}

/** The memory after an observation. Time without observation, or without sight, counts neither for nor against a server. */
export function remember(observation: Observation, memory: Memory, policy: ReplacementPolicy): Memory {
    const { time } = observation;
    const gap = memory.observedAt === undefined ? Number.POSITIVE_INFINITY : time - memory.observedAt;
    const continuous = gap >= 0 && gap <= policy.maxGapSeconds;
    const sight = canSeeAll(observation);
    const slots = observation.deployment.seen
        ? Object.fromEntries(
              observation.slots.map((slot) => [
                  slot.slot,
                  rememberSlot(slot, memory.slots[slot.slot], { time, continuous, sight }, policy),
              ]),
          )
        : memory.slots;
    const { inFlight, observedAt: _, hold: held, ...rest } = memory;
    const hold = noRoomHold(observation, memory, policy) ?? held;
    const next: Memory = {
        ...rest,
        // When the wanted servers are unknown, nothing counts as observed.
        ...(observation.deployment.seen ? { observedAt: time } : {}),
        slots,
        taken: memory.taken.filter((taken) => time - taken < DAY),
        ...(hold && time < hold.until ? { hold } : {}),
        ...(inFlight ? { inFlight } : {}),
    };
    return sight ? settleInFlight(observation, next, policy) : next;
}

/** The hold after a server failed because the cloud had no room; once for each such server. */
function noRoomHold({ slots, time }: Observation, memory: Memory, policy: ReplacementPolicy): Memory["hold"] {
    const failed = slots.find(({ slot, serverId, controlPlane }) => {
        const before = memory.slots[slot];
        return controlPlane.noRoom === true && !(before?.serverId === serverId && before.noRoom);
    });
    if (!failed) return undefined;
    const reason = `${failed.slot}: ${failed.controlPlane.detail ?? "the cloud had no room for it"}`;
    return { until: time + policy.holdSeconds, reason };
}

interface ObservedMoment {
    readonly time: number;
    /** Whether the last observation is recent enough to count the time since then as uninterrupted. */
    readonly continuous: boolean;
    readonly sight: boolean;
}

function rememberSlot(
    slot: SlotObservation,
    before: SlotMemory | undefined,
    moment: ObservedMoment,
    policy: ReplacementPolicy,
): SlotMemory {
    const { time } = moment;
    const same = before?.serverId === slot.serverId ? before : undefined;
    const healthy = isHealthy(slot) && moment.sight;
    const hard = hardSightings(slot, same, time, policy);
    const since = (start: number | undefined) => (moment.continuous ? start : undefined) ?? time;
    const lost = isLost(slot, policy.softObservers) && moment.sight;
    const stopped = before?.stopped?.serverId === slot.serverId ? before.stopped : undefined;
    return {
        serverId: slot.serverId,
        activeSince: Math.min(time, slot.controlPlane.activeSince ?? same?.activeSince ?? time),
        ...(slot.controlPlane.noRoom ? { noRoom: true } : {}),
        passed: healthy || (same?.passed ?? false),
        ...(hard ? { hard } : {}),
        ...(lost ? { lostSince: since(same?.lostSince) } : {}),
        ...(healthy ? { healthySince: since(same?.healthySince) } : {}),
        tries: (before?.tries ?? []).filter((tried) => time - tried < policy.triesWindowSeconds),
        ...(before?.notBefore !== undefined && time < before.notBefore ? { notBefore: before.notBefore } : {}),
        ...(stopped ? { stopped } : {}),
    };
}

function hardSightings(
    slot: SlotObservation,
    before: SlotMemory | undefined,
    time: number,
    policy: ReplacementPolicy,
): SlotMemory["hard"] {
    if (exists(slot)) return undefined;
    if (slot.controlPlane.state === "unknown") return before?.hard;
    const previous = before?.hard;
    if (previous && time === previous.last) return previous;
    const follows = previous && time > previous.last && time - previous.last <= policy.hardWindowSeconds;
    return { count: follows ? previous.count + 1 : 1, last: time };
}

/** Whether the control plane has reported the server gone or failed often enough. */
export function isHardGone(slot: SlotMemory, policy: ReplacementPolicy): boolean {
    return (slot.hard?.count ?? 0) >= policy.hardSightings;
}

/** Whether the server exists and has been lost for long enough. */
export function isSoftGone(slot: SlotMemory, time: number, policy: ReplacementPolicy): boolean {
    return slot.lostSince !== undefined && time - slot.lostSince >= policy.softSeconds;
}

/** Whether the server may still be booting. */
export function inBootGrace(slot: SlotMemory, time: number, policy: ReplacementPolicy): boolean {
    return !slot.passed && time - slot.activeSince < policy.bootGraceSeconds;
}

/** Ends the replacement in flight once its server has proven healthy or has failed. */
function settleInFlight(observation: Observation, memory: Memory, policy: ReplacementPolicy): Memory {
    const { inFlight, ...rest } = memory;
    if (!inFlight) return memory;
    const { time } = observation;
    const slot = memory.slots[inFlight.slot];
    if (!slot) return rest;
    const finishedAt = inFlight.finishedAt ?? time;
    const flight: InFlight =
        inFlight.finishedAt === undefined ? { ...inFlight, finishedAt, interrupted: true } : inFlight;

    if (slot.healthySince !== undefined) {
        if (time - slot.healthySince < policy.healthyBetweenSeconds) return { ...rest, inFlight: flight };
        const { notBefore: _, ...healed } = slot;
        return { ...rest, slots: { ...rest.slots, [flight.slot]: { ...healed, tries: [] } } };
    }
    const patience = policy.bootGraceSeconds + policy.healthyBetweenSeconds;
    const failed =
        isHardGone(slot, policy) ||
        (isSoftGone(slot, time, policy) && !inBootGrace(slot, time, policy)) ||
        time - finishedAt >= patience;
    return failed ? backOff(rest, flight.slot, time, policy) : { ...rest, inFlight: flight };
}

function backOff(memory: Memory, name: string, time: number, policy: ReplacementPolicy): Memory {
    const slot = memory.slots[name];
    if (!slot) return memory;
    const notBefore = time + backoffSeconds(policy, slot.tries.length);
    return { ...memory, slots: { ...memory.slots, [name]: { ...slot, notBefore } } };
}

/** Forgets when the last observation was, so that all uninterrupted times start anew. */
export function breakContinuity(memory: Memory): Memory {
    const { observedAt: _, ...rest } = memory;
    return rest;
}

/** The leader that begins a replacement. */
export interface Author {
    readonly epoch: number;
    readonly host: string;
}

/** Begins a replacement: takes a try and a part of the budget. Store the result before acting. */
export function beginReplacement(memory: Memory, action: Action, time: number, author?: Author): Memory {
    const slot = memory.slots[action.slot];
    if (!slot) throw new Error(`the loop's memory has no slot ${action.slot}`);
    return {
        ...breakContinuity(memory),
        slots: { ...memory.slots, [action.slot]: { ...slot, tries: [...slot.tries, time] } },
        taken: [...memory.taken, time],
        inFlight: {
            slot: action.slot,
            evidence: action.evidence,
            serverId: action.serverId,
            startedAt: time,
            ...(author ? { epoch: author.epoch } : {}),
        },
        ...(author ? { author } : {}),
    };
}

/** Records how a replacement ended at `time`, whether or not {@link beginReplacement} had begun it. */
export function settleReplacement(
    memory: Memory,
    action: Action,
    settlement: Settlement,
    time: number,
    policy: ReplacementPolicy,
): Memory {
    const begun = memory.inFlight?.slot === action.slot && memory.inFlight.finishedAt === undefined;
    const { inFlight, ...grounded } = memory;
    const idle = begun ? grounded : memory;
    switch (settlement.kind) {
        case "done":
            return begun && inFlight ? { ...memory, inFlight: { ...inFlight, finishedAt: time } } : memory;
        case "failed":
            return backOff(idle, action.slot, time, policy);
        case "invalid":
        case "stuck":
            return stopSlot(idle, action, settlement.reason, time);
        case "refused":
            return { ...idle, hold: { until: time + policy.holdSeconds, reason: settlement.reason } };
        case "quota":
            return {
                ...returnBudget(idle, memory),
                hold: { until: time + policy.holdSeconds, reason: settlement.reason },
            };
        case "locked":
            return {
                ...returnBudget(idle, memory),
                hold: { until: time + policy.lockRetrySeconds, reason: settlement.reason },
            };
    }
}

/** Returns budget and try of a replacement that got no server. The hold limits how often that happens. */
function returnBudget(idle: Memory, begun: Memory): Memory {
    const flight = begun.inFlight;
    const slot = flight && idle.slots[flight.slot];
    if (!flight || !slot || flight.finishedAt !== undefined) return idle;
    return {
        ...idle,
        taken: without(idle.taken, flight.startedAt),
        slots: { ...idle.slots, [flight.slot]: { ...slot, tries: without(slot.tries, flight.startedAt) } },
    };
}

function without(times: readonly number[], time: number): number[] {
    const index = times.lastIndexOf(time);
    return times.filter((_, at) => at !== index);
}

function stopSlot(memory: Memory, action: Action, reason: string, time: number): Memory {
    const slot = memory.slots[action.slot];
    if (!slot) return memory;
    const stopped = { time, reason, serverId: action.serverId };
    return { ...memory, slots: { ...memory.slots, [action.slot]: { ...slot, stopped } } };
}

/** Allows another try for a slot that was stopped or has used up its tries. */
export function allowRetry(memory: Memory, name: string): Memory {
    const slot = memory.slots[name];
    if (!slot)
        throw new Error(`unknown slot "${name}"; known slots: ${Object.keys(memory.slots).join(", ") || "none"}`);
    const { stopped: _, notBefore: __, ...rest } = slot;
    return { ...memory, slots: { ...memory.slots, [name]: { ...rest, tries: [] } } };
}

/**
 * The part of a memory that must not be lost, as text to compare. It leaves out what changes with every observation:
 * losing that only makes the loop wait longer.
 */
export function lastingPart(memory: Memory): string {
    const { observedAt: _, ...rest } = memory;
    const slots = Object.entries(rest.slots).map(([name, { hard, ...slot }]) => [name, slot, hard !== undefined]);
    return JSON.stringify({ ...rest, slots });
}
