/**
 * The replacement policy as settings of an AWS AutoScaling group, which replaces servers on AWS instead of the loop.
 */
import type { ReplacementPolicy } from "../../replacement/core/policy";

/**
 * The settings of an AutoScaling group that the policy determines. Times are in seconds, shares of the group in
 * percent.
 */
export interface AutoScalingSettings {
    /** `healthCheckGracePeriod`: health checks do not count for so long after a machine runs. */
    readonly healthCheckGracePeriod: number;
    /** `healthCheckType`: `ELB` also believes the load balancer's health checks, `EC2` only the machine's own. */
    readonly healthCheckType: "ELB" | "EC2";
    /** `defaultInstanceWarmup`: how long after its start a machine is not counted as in service. */
    readonly defaultInstanceWarmup: number;
    /** `instanceMaintenancePolicy`: how many are kept when machines are replaced; above 100, the new one comes first. */
    readonly instanceMaintenancePolicy: {
        readonly minHealthyPercentage: number;
        readonly maxHealthyPercentage: number;
    };
    /** `instanceRefresh.preferences`: for a change of the launch template. */
    readonly instanceRefresh: {
        readonly minHealthyPercentage: number;
        readonly maxHealthyPercentage: number;
        readonly instanceWarmup: number;
        readonly autoRollback: boolean;
        /** One at a time has no setting of its own: a checkpoint after each share with a pause between. */
        readonly checkpointDelay: number;
        readonly checkpointPercentages: readonly number[];
    };
    /** `suspendedProcesses`. */
    readonly suspendedProcesses: readonly ("ReplaceUnhealthy" | "AZRebalance" | "HealthCheck")[];
    /** The load balancer's health checks, which stand for the soft evidence. */
    readonly targetHealthCheck: {
        readonly interval: number;
        readonly healthyThreshold: number;
        readonly unhealthyThreshold: number;
    };
    /** How long a machine keeps its connections after it is taken out, if the caller sets it. */
    readonly deregistrationDelay?: number;
}

/** A policy compiled for AWS. */
export interface CompiledAutoScaling {
    readonly settings: AutoScalingSettings;
    /** For the preview: each part of the policy that AWS cannot express, with what AWS does instead. */
    readonly warnings: readonly string[];
}

/** Inputs of the group's settings besides the policy. */
export interface AutoScalingContext {
    /** Size of the pool. */
    readonly size: number;
    /** How long a gateway drains, in seconds. */
    readonly drainSeconds?: number;
}

/** Limits of the API: health checks of a target group every 5 to 300 s, thresholds of 2 to 10; a pause of up to 2 days. */
const limits = { interval: [5, 300], threshold: [2, 10], checkpointDelay: [0, 172_800] } as const;

const clamp = (value: number, [min, max]: readonly [number, number]) => Math.min(max, Math.max(min, value));

/**
 * Compiles a policy. Pure: the same policy gives the same settings.
 *
 * The group launches before it terminates (100 to 150 percent), so a replacement breaks no rule about how many servers
 * may be gone at once. The warnings say where AutoScaling decides differently from the policy.
 */
export function compileAutoScaling(policy: ReplacementPolicy, context: AutoScalingContext): CompiledAutoScaling {
    const size = Math.max(1, context.size);
    const unhealthyThreshold = clamp(Math.round(policy.softSeconds / 30), limits.threshold);
    const interval = clamp(Math.round(policy.softSeconds / unhealthyThreshold), limits.interval);
    const maintenance = { minHealthyPercentage: 100, maxHealthyPercentage: maxHealthy(size) };
    const warmup = Math.round(policy.healthyBetweenSeconds);
    const settings: AutoScalingSettings = {
        healthCheckGracePeriod: Math.round(policy.bootGraceSeconds),
        healthCheckType: "ELB",
        defaultInstanceWarmup: warmup,
        instanceMaintenancePolicy: maintenance,
        instanceRefresh: {
            ...maintenance,
            instanceWarmup: warmup,
            autoRollback: true,
            checkpointDelay: clamp(warmup, limits.checkpointDelay),
            checkpointPercentages: checkpoints(size),
        },
        suspendedProcesses: policy.paused || policy.dryRun ? ["ReplaceUnhealthy", "AZRebalance"] : [],
        targetHealthCheck: { interval, healthyThreshold: limits.threshold[0], unhealthyThreshold },
        ...(context.drainSeconds === undefined ? {} : { deregistrationDelay: Math.round(context.drainSeconds) }),
    };
    return { settings, warnings: warningsOf(policy, settings, size) };
}

/** Room for at least one more: a percentage of a small group would round to none. AWS allows up to 100 points above. */
function maxHealthy(size: number): number {
    return Math.min(200, Math.max(150, 100 + Math.ceil(100 / size)));
}

/** After each machine of the group, as whole percentages; a group of more than 20 in 20 steps. */
function checkpoints(size: number): number[] {
    const steps = Math.min(size, 20);
    return Array.from({ length: steps }, (_, step) => Math.ceil(((step + 1) * 100) / steps));
}

function warningsOf(policy: ReplacementPolicy, settings: AutoScalingSettings, size: number): string[] {
    const { targetHealthCheck: check } = settings;
    const soft = check.interval * check.unhealthyThreshold;
    const conditional: readonly [boolean, string][] = [
        [
            policy.dryRun,
            "dryRun: AutoScaling has none; the process ReplaceUnhealthy is suspended, so nothing says what would be done",
        ],
        [
            Math.abs(soft - policy.softSeconds) > check.interval,
            `softSeconds ${policy.softSeconds}: AWS acts after ${check.unhealthyThreshold} failed checks, ${check.interval} s apart: ${soft} s`,
        ],
        [
            policy.maxGone !== undefined,
            `maxGone ${policy.maxGone}: AutoScaling keeps 100 percent while it can launch, but takes away every unhealthy machine when it cannot`,
        ],
    ];
    return [
        ...conditional.flatMap(([applies, warning]) => (applies ? [warning] : [])),
        "the boot grace is not ended by the first passing check: a machine that fails within it is replaced only after it",
        `budgetPerHour ${policy.budgetPerHour}, budgetPerDayPerServer ${policy.budgetPerDayPerServer}: AutoScaling has no budget and goes on replacing`,
        `triesPerSlot ${policy.triesPerSlot} and its backoff: an image that never passes is launched and terminated without end; have an alarm on it`,
        `softObservers ${policy.softObservers}: only the load balancer's health check and EC2's own count; Consul's does not`,
        `hardSightings ${policy.hardSightings}: a machine that EC2 calls impaired once may be replaced at once`,
        "frozen when blind: when every machine fails its check at once, a network load balancer goes on sending to all, but AutoScaling replaces them",
        ...(size > 1
            ? [
                  `one replacement in flight: AutoScaling replaces up to ${settings.instanceMaintenancePolicy.maxHealthyPercentage - 100} percent of the group at once`,
              ]
            : []),
        `holdSeconds ${policy.holdSeconds}: AutoScaling tries a launch that failed for lack of capacity or quota again at times of its own`,
        "a preview of each replacement: AutoScaling makes none",
    ];
}
