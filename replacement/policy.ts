/** What the replacement loop may do, and when. */
import { z } from "zod";

/** The policy of the replacement loop. All times are in seconds. "Notes" are those on other self-healing systems. */
export interface ReplacementPolicy {
    /** The loop observes, decides and journals, but never acts. Default false. The pause switch in Consul does the same. */
    readonly paused: boolean;
    /** As `paused`, but the loop says what it would do. Default false. */
    readonly dryRun: boolean;
    /**
     * The breaker: how many servers may be out of service at once when one that still exists is taken away. Default
     * max(1, floor(N / 3)); percentages, as others have them, round to 0 for a pool of two.
     */
    readonly maxGone?: number;
    /** How long a new server has to be healthy in Consul and at the balancers before the next is replaced. Default 60. */
    readonly healthyBetweenSeconds: number;
    /** How often in a row the control plane has to say that a server is gone or failed. Default 2. */
    readonly hardSightings: number;
    /** The longest time between two such sightings. Default 60. */
    readonly hardWindowSeconds: number;
    /** How long a server that exists has to be lost without interruption. Default 300, as Magnum's auto-healer. */
    readonly softSeconds: number;
    /** How many observers (Consul, and each balancer) have to see it lost, while none sees it serve. Default 2. */
    readonly softObservers: number;
    /** How long a server that became active may take to its first passing check. Default 600, as Cluster API. */
    readonly bootGraceSeconds: number;
    /** Replacements in any hour. Default 3. */
    readonly budgetPerHour: number;
    /** Replacements in any 24 hours, for each server of the pool. Default 2. */
    readonly budgetPerDayPerServer: number;
    /** Replacements of one slot that may fail in `triesWindowSeconds`. Default 3. */
    readonly triesPerSlot: number;
    /** How long a failed try counts. Default 3600. */
    readonly triesWindowSeconds: number;
    /** Wait after a slot's first failed try; it doubles with each. Default 120. */
    readonly backoffFirstSeconds: number;
    /** The longest such wait. Default 1800. */
    readonly backoffMaxSeconds: number;
    /**
     * Wait, for the whole pool, after an answer that the quota is used up or no host has room, or after a preview that
     * was refused. Default 600, as Gardener's machine-controller-manager.
     */
    readonly holdSeconds: number;
    /**
     * How long one replacement may take. After that it is interrupted, and its slot left alone until its server changes
     * or an operator says otherwise. Default 600, as Gardener's machine-controller-manager drains for.
     */
    readonly stuckSeconds: number;
    /** Time from one search for leftovers of earlier runs to the next. Default 300. */
    readonly sweepSeconds: number;
    /** How far apart the sightings have to be of a server nobody knows before it is deleted. Default 60. */
    readonly duplicateSeconds: number;
    /** The same for a port or volume without a server. Default 900, as Gardener's machine-controller-manager. */
    readonly orphanSeconds: number;
    /** Wait, for the whole pool, after the stack was found locked by another run. Default 30. */
    readonly lockRetrySeconds: number;
    /** Time from the end of one round of observing and deciding to the next. Default 10. */
    readonly intervalSeconds: number;
    /** Two observations further apart than this are not continuous: "for so many seconds" starts anew. Default 60. */
    readonly maxGapSeconds: number;
    /** Deadline of one question of an observer; without an answer in time its view is unknown. Default 5. */
    readonly observerTimeoutSeconds: number;
}

/** For machines that take minutes to boot. Sources: see {@link ReplacementPolicy}. */
export const defaultPolicy: ReplacementPolicy = {
    paused: false,
    dryRun: false,
    healthyBetweenSeconds: 60,
    hardSightings: 2,
    hardWindowSeconds: 60,
    softSeconds: 300,
    softObservers: 2,
    bootGraceSeconds: 600,
    budgetPerHour: 3,
    budgetPerDayPerServer: 2,
    triesPerSlot: 3,
    triesWindowSeconds: 3600,
    backoffFirstSeconds: 120,
    backoffMaxSeconds: 1800,
    holdSeconds: 600,
    stuckSeconds: 600,
    sweepSeconds: 300,
    duplicateSeconds: 60,
    orphanSeconds: 900,
    lockRetrySeconds: 30,
    intervalSeconds: 10,
    maxGapSeconds: 60,
    observerTimeoutSeconds: 5,
};

/**
 * The same for machines that boot in a second: seconds instead of minutes, and a budget with which demonstrations and
 * benchmarks do not run dry.
 */
export const localPolicy: ReplacementPolicy = {
    ...defaultPolicy,
    healthyBetweenSeconds: 3,
    hardWindowSeconds: 10,
    softSeconds: 10,
    bootGraceSeconds: 30,
    budgetPerHour: 60,
    budgetPerDayPerServer: 240,
    triesWindowSeconds: 300,
    backoffFirstSeconds: 2,
    backoffMaxSeconds: 30,
    holdSeconds: 30,
    duplicateSeconds: 5,
    lockRetrySeconds: 2,
    intervalSeconds: 1,
    maxGapSeconds: 5,
    observerTimeoutSeconds: 1,
};

const seconds = z
    .number()
    .positive()
    .max(7 * 86_400);
const count = z.number().int().positive().max(100_000);

/** What a user may say of the policy: any of its parts; the rest is the target's default. */
export const replacementPolicySchema = z.strictObject({
    paused: z.boolean().optional().describe("observe and decide, but never act"),
    dryRun: z.boolean().optional().describe("as paused, but say what would be done"),
    maxGone: count.optional().describe("servers that may be out of service at once by the loop's hand"),
    healthyBetweenSeconds: z.number().nonnegative().max(86_400).optional().describe("healthy time before the next one"),
    hardSightings: count.optional().describe("how often the control plane has to say that a server is gone"),
    hardWindowSeconds: seconds.optional().describe("the longest time between two such sightings"),
    softSeconds: seconds.optional().describe("how long a server that exists has to be lost"),
    softObservers: count.optional().describe("how many of Consul and the balancers have to see it lost"),
    bootGraceSeconds: seconds.optional().describe("how long a new server may take to its first passing check"),
    budgetPerHour: count.optional().describe("replacements in any hour"),
    budgetPerDayPerServer: count.optional().describe("replacements in any 24 hours, for each server of the pool"),
    triesPerSlot: count.optional().describe("replacements of one slot that may fail in triesWindowSeconds"),
    triesWindowSeconds: seconds.optional().describe("how long a failed try counts"),
    backoffFirstSeconds: seconds.optional().describe("wait after a slot's first failed try; it doubles with each"),
    backoffMaxSeconds: seconds.optional().describe("the longest such wait"),
    holdSeconds: seconds.optional().describe("wait after a used-up quota, or after a refused preview"),
    stuckSeconds: seconds.optional().describe("how long one replacement may take before it is interrupted"),
    sweepSeconds: seconds.optional().describe("time from one search for leftovers of earlier runs to the next"),
    duplicateSeconds: seconds.optional().describe("how far apart the two sightings of a surplus server have to be"),
    orphanSeconds: seconds.optional().describe("the same for a port or volume without a server"),
    lockRetrySeconds: seconds.optional().describe("wait after the stack was found locked"),
    intervalSeconds: seconds.optional().describe("time between two rounds of observing"),
    maxGapSeconds: seconds.optional().describe("observations further apart are not continuous"),
    observerTimeoutSeconds: seconds.optional().describe("deadline of one question of an observer"),
});

/** A part of a policy, as checked by {@link replacementPolicySchema}. */
export type PolicyOverrides = z.infer<typeof replacementPolicySchema>;

/** A whole policy from a target's defaults and what the user said. */
export function resolvePolicy(defaults: ReplacementPolicy, overrides: PolicyOverrides = {}): ReplacementPolicy {
    const given = Object.entries(overrides).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(given) };
}

/** The breaker's limit for a pool of `size` servers. */
export function maxGone(policy: ReplacementPolicy, size: number): number {
    return policy.maxGone ?? Math.max(1, Math.floor(size / 3));
}

/** Wait in seconds after a slot's failed try number `tries` (1 is the first). */
export function backoffSeconds(policy: ReplacementPolicy, tries: number): number {
    return Math.min(policy.backoffMaxSeconds, policy.backoffFirstSeconds * 2 ** Math.max(0, tries - 1));
}
