/**
 * The same scenarios for whoever obeys the policy: the loop with its defaults (OpenStack), the loop on this computer (local), and
 * AutoScaling with the settings that the policy is compiled to. Where AutoScaling does otherwise, the preview has to say so.
 */
import assert from "node:assert/strict";
import { type AutoScalingSettings, compileAutoScaling } from "../../components/aws/autoScalingPolicy";
import { decide } from "../../replacement/core/decide";
import type { Memory } from "../../replacement/core/loopMemory";
import type { SlotObservation } from "../../replacement/core/observation";
import { defaultPolicy, localPolicy, type ReplacementPolicy } from "../../replacement/core/policy";
import { gone, lost, memory, NOW, observation, remembered, slot } from "./replacementFixtures";

/** How a server is: there and well, there and of no use, or not there. */
type State = "well" | "lost" | "gone";

interface Scenario {
    readonly name: string;
    /** The states of both servers so many seconds after the beginning. */
    readonly states: (time: number, policy: ReplacementPolicy) => readonly [State, State];
    /** Whether the first server has just been started, and never passed a check. Default: it is well for long. */
    readonly isNew?: boolean;
    /** What of the policy is other than the defaults. */
    readonly policy?: Partial<ReplacementPolicy>;
    /** What the loop remembers besides. */
    readonly before?: (policy: ReplacementPolicy) => Partial<Memory>;
    /** When the first server is replaced, as a range of seconds; undefined: nobody is. */
    readonly replaced?: (policy: ReplacementPolicy) => readonly [number, number];
    /** That AutoScaling does otherwise, and by which words the preview warns of it. */
    readonly otherwise?: RegExp;
}

/** Rounds, and what AutoScaling's whole checks make of seconds. */
const slack = (policy: ReplacementPolicy) => Math.max(2 * policy.intervalSeconds, policy.softSeconds / 8);
const atOnce = (policy: ReplacementPolicy) => [0, slack(policy)] as const;
const softly = (policy: ReplacementPolicy) =>
    [policy.softSeconds - slack(policy), policy.softSeconds + slack(policy)] as const;

const scenarios: readonly Scenario[] = [
    { name: "a server is gone", states: () => ["gone", "well"], replaced: atOnce },
    { name: "a server hangs for good", states: () => ["lost", "well"], replaced: softly },
    {
        name: "a server hangs for a while",
        states: (time, { softSeconds }) => [time < softSeconds / 2 ? "lost" : "well", "well"],
    },
    {
        name: "a server flaps",
        states: (time, { softSeconds }) => [Math.floor(time / (softSeconds / 3)) % 2 === 0 ? "lost" : "well", "well"],
    },
    {
        name: "a new server takes its time",
        isNew: true,
        states: (time, { bootGraceSeconds, softSeconds }) => [
            time < bootGraceSeconds - softSeconds ? "lost" : "well",
            "well",
        ],
    },
    {
        name: "a new server never passes",
        isNew: true,
        states: () => ["lost", "well"],
        replaced: (policy) => [policy.bootGraceSeconds, policy.bootGraceSeconds + policy.softSeconds + slack(policy)],
    },
    { name: "the policy is paused", policy: { paused: true }, states: () => ["gone", "well"] },
    { name: "the policy is a dry run", policy: { dryRun: true }, states: () => ["gone", "well"] },
    {
        name: "all servers hang at once",
        states: () => ["lost", "lost"],
        // Twice as long as one alone: it may be the observers' fault.
        replaced: (policy) => [2 * policy.softSeconds, 2 * policy.softSeconds + slack(policy)],
        otherwise: /^frozen when blind/,
    },
    {
        name: "the budget is used up",
        states: () => ["gone", "well"],
        before: ({ budgetPerHour }) => ({ taken: Array.from({ length: budgetPerHour }, () => NOW - 60) }),
        otherwise: /^budgetPerHour/,
    },
    {
        name: "the slot was tried often enough",
        states: () => ["gone", "well"],
        before: ({ triesPerSlot }) => ({
            slots: {
                "gw-0": remembered("gw-0", { tries: Array.from({ length: triesPerSlot }, () => NOW - 1) }),
                "gw-1": remembered("gw-1"),
            },
        }),
        otherwise: /^triesPerSlot/,
    },
    {
        name: "there was no room a moment ago",
        states: () => ["gone", "well"],
        before: ({ holdSeconds }) => ({ hold: { until: NOW + holdSeconds, reason: "no valid host" } }),
        replaced: ({ holdSeconds, ...policy }) => [holdSeconds, holdSeconds + slack({ holdSeconds, ...policy })],
        otherwise: /^holdSeconds/,
    },
];

/** Longer than everything that a policy waits for. */
const endOf = ({ bootGraceSeconds, softSeconds, holdSeconds }: ReplacementPolicy) =>
    3 * Math.max(bootGraceSeconds, softSeconds, holdSeconds);

/** When the loop replaces the first server; undefined: it never replaces any. */
function byLoop({ states, isNew = false, before }: Scenario, policy: ReplacementPolicy): number | undefined {
    const seen = (name: string, state: State): SlotObservation => {
        const started =
            isNew && name === "gw-0" ? { controlPlane: { state: "active", activeSince: NOW } as const } : {};
        return slot({ slot: name, ...started, ...(state === "gone" ? gone : state === "lost" ? lost : {}) });
    };
    let known = memory(before?.(policy));
    if (isNew) known = { ...known, slots: { "gw-1": remembered("gw-1") } };
    for (let time = 0; time < endOf(policy); time += policy.intervalSeconds) {
        const [first, second] = states(time, policy);
        const slots = [seen("gw-0", first), seen("gw-1", second)];
        const decision = decide(observation({ time: NOW + time, slots }), known, policy);
        const [action] = decision.actions;
        if (action) return action.slot === "gw-0" ? time : Number.NaN;
        known = decision.memory;
    }
    return undefined;
}

/**
 * When AutoScaling replaces the first server, by its documentation: a terminated instance at once; one whose target is unhealthy
 * once its grace period is over; and no one while ReplaceUnhealthy is suspended. A target is unhealthy after so many failed checks
 * in a row (docs.aws.amazon.com, "Health checks for instances in an Auto Scaling group", "Health checks for your target groups").
 */
function byAutoScaling({ states, isNew = false }: Scenario, policy: ReplacementPolicy): number | undefined {
    const settings: AutoScalingSettings = compileAutoScaling(policy, { size: 2 }).settings;
    if (settings.suspendedProcesses.includes("ReplaceUnhealthy")) return undefined;
    const { interval, unhealthyThreshold, healthyThreshold } = settings.targetHealthCheck;
    const grace = isNew ? settings.healthCheckGracePeriod : 0;
    let [failed, passed, unhealthy] = [0, 0, isNew];
    for (let time = 0; time < endOf(policy); time += interval) {
        const [state] = states(time, policy);
        if (state === "gone") return time;
        failed = state === "lost" ? failed + 1 : 0;
        passed = state === "well" ? passed + 1 : 0;
        if (failed >= unhealthyThreshold) unhealthy = true;
        if (passed >= healthyThreshold) unhealthy = false;
        if (unhealthy && time >= grace) return time;
    }
    return undefined;
}

/** What holds for whoever obeys. */
function obeys({ replaced }: Scenario, policy: ReplacementPolicy, at: number | undefined): void {
    const range = replaced?.(policy);
    if (range === undefined) assert.equal(at, undefined);
    else assert.ok(at !== undefined && at >= range[0] && at <= range[1], `replaced at ${at}, not in ${range}`);
}

describe("whoever obeys the policy", () => {
    for (const scenario of scenarios) {
        const { name, policy: changes, otherwise } = scenario;
        for (const [target, standard] of [
            ["openstack", defaultPolicy],
            ["local", localPolicy],
        ] as const) {
            it(`${name}: the loop on ${target} does as it says`, () => {
                const policy = { ...standard, ...changes };
                obeys(scenario, policy, byLoop(scenario, policy));
            });
        }

        it(`${name}: AutoScaling does ${otherwise ? "otherwise, and the preview says so" : "the same"}`, () => {
            const policy = { ...defaultPolicy, ...changes };
            const at = byAutoScaling(scenario, policy);
            if (!otherwise) return obeys(scenario, policy, at);
            assert.throws(() => obeys(scenario, policy, at));
            assert.ok(compileAutoScaling(policy, { size: 2 }).warnings.some((warning) => otherwise.test(warning)));
        });
    }
});
