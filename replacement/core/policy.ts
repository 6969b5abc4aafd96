/** What the replacement loop may do, and when. */
import { z } from "zod";

/** The policy of the replacement loop. All times are in seconds. */
export interface ReplacementPolicy {
    /** The loop observes, decides and journals, but never acts, as with the pause switch. Default false. */
    readonly paused: boolean;
    /** As `paused`, but the loop says what it would do. Default false. */
    readonly dryRun: boolean;
    /**
     * The breaker: how many servers may be out of service at once when the loop removes one that still exists. Default
     * max(1, floor(N / 3)); a percentage would round to 0 for a pool of two.
     */
    readonly maxGone?: number;
    /** How long a new server must be healthy before the loop replaces the next one. Default 60. */
    readonly healthyBetweenSeconds: number;
    /** How many times in a row the control plane must report a server gone or failed. Default 2. */
    readonly hardSightings: number;
    /** Longest time between two such sightings. Default 60. */
    readonly hardWindowSeconds: number;
    /** How long an existing server must be lost without interruption. Default 300, as in Magnum's auto-healer. */
    readonly softSeconds: number;
    /** How many observers (Consul and each balancer) must see it lost, while none sees it serve. Default 2. */
    readonly softObservers: number;
    /** Time from a server's start to its first passing check. Default 600, as in Cluster API. */
    readonly bootGraceSeconds: number;
    /** Replacements within an hour. Default 3. */
    readonly budgetPerHour: number;
    /** Replacements within 24 hours, for each server of the pool. Default 2. */
    readonly budgetPerDayPerServer: number;
    /** Replacements of one slot that may fail within `triesWindowSeconds`. Default 3. */
    readonly triesPerSlot: number;
    /** How long a failed try counts. Default 3600. */
    readonly triesWindowSeconds: number;
    /** Wait after a slot's first failed try. It doubles with each further one. Default 120. */
    readonly backoffFirstSeconds: number;
    /** The longest such wait. Default 1800. */
    readonly backoffMaxSeconds: number;
    /**
     * Wait of the whole pool after the cloud had no quota or room, or after a refused preview. Default 600, as in
     * Gardener's machine-controller-manager.
     */
    readonly holdSeconds: number;
    /**
     * How long one replacement may take. After that the loop interrupts it and leaves the slot alone until its server
     * changes or an operator resumes it. Default 600, the drain time of Gardener's machine-controller-manager.
     */
    readonly stuckSeconds: number;
    /** Time between two searches for leftovers of earlier runs. Default 300. */
    readonly sweepSeconds: number;
    /** How long the loop must have seen a surplus server before it deletes it. Default 60. */
    readonly duplicateSeconds: number;
    /** The same for an orphaned port or volume. Default 900, as in Gardener's machine-controller-manager. */
    readonly orphanSeconds: number;
    /** Wait of the whole pool after another run held the stack's lock. Default 30. */
    readonly lockRetrySeconds: number;
    /** Time from the end of one round of observing and deciding to the next. Default 10. */
    readonly intervalSeconds: number;
    /** Longest gap between two observations that still count as uninterrupted. Default 60. */
    readonly maxGapSeconds: number;
    /** Deadline of one request of an observer. Without an answer its view is unknown. Default 5. */
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
 * For machines that boot in a second: seconds instead of minutes, and a budget that suffices for demonstrations and
 * benchmarks.
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

const positiveSeconds = z
    .number()
    .positive()
    .max(7 * 86_400);
const positiveCount = z.number().int().positive().max(100_000);

/** The parts of a policy that a user may set. The target's defaults apply to the rest. */
export const replacementPolicySchema = z.strictObject({
    paused: z.boolean().optional().describe("whether the loop only observes and decides, and never acts"),
    dryRun: z.boolean().optional().describe("like paused, but the loop also says what it would do"),
    maxGone: positiveCount
        .optional()
        .describe("how many servers may be out of service at once when the loop takes one away that still exists"),
    healthyBetweenSeconds: z
        .number()
        .nonnegative()
        .max(86_400)
        .optional()
        .describe("how long a new server has to be healthy before the next replacement"),
    hardSightings: positiveCount
        .optional()
        .describe("how many times in a row the control plane has to report a server as gone or failed"),
    hardWindowSeconds: positiveSeconds.optional().describe("the longest time between two such reports"),
    softSeconds: positiveSeconds
        .optional()
        .describe("how long an existing server has to be lost before it is replaced"),
    softObservers: positiveCount
        .optional()
        .describe("how many observers (Consul and each balancer) have to see it lost"),
    bootGraceSeconds: positiveSeconds
        .optional()
        .describe("how long a new server may take until its first passing check"),
    budgetPerHour: positiveCount.optional().describe("the maximum number of replacements in any hour"),
    budgetPerDayPerServer: positiveCount
        .optional()
        .describe("the maximum number of replacements in any 24 hours, for each server of the pool"),
    triesPerSlot: positiveCount
        .optional()
        .describe("how many replacements of one slot may fail within triesWindowSeconds"),
    triesWindowSeconds: positiveSeconds.optional().describe("how long a failed try counts"),
    backoffFirstSeconds: positiveSeconds
        .optional()
        .describe("how long to wait after a slot's first failed try; doubles with each further one"),
    backoffMaxSeconds: positiveSeconds.optional().describe("the longest such wait"),
    holdSeconds: positiveSeconds
        .optional()
        .describe("how long to wait after the quota was used up or a preview was refused"),
    stuckSeconds: positiveSeconds
        .optional()
        .describe("how long one replacement may take; after that it is interrupted"),
    sweepSeconds: positiveSeconds.optional().describe("time between two searches for leftovers of earlier runs"),
    duplicateSeconds: positiveSeconds
        .optional()
        .describe("the least time between the two sightings of a surplus server that lead to its deletion"),
    orphanSeconds: positiveSeconds.optional().describe("the same for a port or volume without a server"),
    lockRetrySeconds: positiveSeconds.optional().describe("how long to wait after the stack was found locked"),
    intervalSeconds: positiveSeconds.optional().describe("time between two observations"),
    maxGapSeconds: positiveSeconds
        .optional()
        .describe("observations further apart than this do not count as continuous"),
    observerTimeoutSeconds: positiveSeconds.optional().describe("deadline of one request of an observer"),
});

/** A part of a policy, validated by {@link replacementPolicySchema}. */
export type PolicyOverrides = z.infer<typeof replacementPolicySchema>;

/** A whole policy, from a target's defaults and the user's overrides. */
export function resolvePolicy(defaults: ReplacementPolicy, overrides: PolicyOverrides = {}): ReplacementPolicy {
    const set = Object.entries(overrides).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(set) };
}

/** The breaker's limit for a pool of `size` servers. */
export function maxGone(policy: ReplacementPolicy, size: number): number {
    return policy.maxGone ?? Math.max(1, Math.floor(size / 3));
}

/** Wait in seconds after a slot's failed try number `tries`, counted from 1. */
export function backoffSeconds(policy: ReplacementPolicy, tries: number): number {
    return Math.min(policy.backoffMaxSeconds, policy.backoffFirstSeconds * 2 ** Math.max(0, tries - 1));
}
