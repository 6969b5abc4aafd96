import assert from "node:assert/strict";
import * as fc from "fast-check";
import { compileAutoScaling } from "../../components/aws/autoScalingPolicy";
import { defaultPolicy, localPolicy } from "../../replacement/core/policy";

describe("the policy, compiled for AutoScaling", () => {
    it("has the settings that stand for the defaults", () => {
        const { settings } = compileAutoScaling(defaultPolicy, { size: 2, drainSeconds: 30 });
        assert.deepEqual(settings, {
            healthCheckGracePeriod: 600,
            healthCheckType: "ELB",
            defaultInstanceWarmup: 60,
            instanceMaintenancePolicy: { minHealthyPercentage: 100, maxHealthyPercentage: 150 },
            instanceRefresh: {
                minHealthyPercentage: 100,
                maxHealthyPercentage: 150,
                instanceWarmup: 60,
                autoRollback: true,
                checkpointDelay: 60,
                checkpointPercentages: [50, 100],
            },
            suspendedProcesses: [],
            targetHealthCheck: { interval: 30, healthyThreshold: 2, unhealthyThreshold: 10 },
            deregistrationDelay: 30,
        });
    });

    it("warns of every rule that AWS does not have", () => {
        const { warnings } = compileAutoScaling(defaultPolicy, { size: 2 });
        for (const rule of ["budgetPerHour 3", "triesPerSlot 3", "softObservers 2", "frozen when blind", "preview"]) {
            assert.ok(
                warnings.some((warning) => warning.includes(rule)),
                rule,
            );
        }
        assert.ok(!warnings.some((warning) => /dryRun|maxGone|softSeconds/.test(warning)));
        const odd = { ...defaultPolicy, dryRun: true, maxGone: 1, softSeconds: 7200 };
        const more = compileAutoScaling(odd, { size: 2 }).warnings;
        for (const rule of ["dryRun", "maxGone 1", "softSeconds 7200"]) {
            assert.ok(
                more.some((warning) => warning.startsWith(rule)),
                rule,
            );
        }
    });

    it("suspends replacement where the policy is paused", () => {
        const { settings } = compileAutoScaling({ ...defaultPolicy, paused: true }, { size: 2 });
        assert.deepEqual(settings.suspendedProcesses, ["ReplaceUnhealthy", "AZRebalance"]);
    });

    it("stays within what AWS accepts, whatever the policy", () => {
        const seconds = fc.integer({ min: 1, max: 604_800 });
        const policies = fc.record({ softSeconds: seconds, bootGraceSeconds: seconds, healthyBetweenSeconds: seconds });
        fc.assert(
            fc.property(policies, fc.integer({ min: 1, max: 200 }), (given, size) => {
                const { settings } = compileAutoScaling({ ...localPolicy, ...given }, { size });
                const { interval, unhealthyThreshold } = settings.targetHealthCheck;
                assert.ok(interval >= 5 && interval <= 300 && Number.isInteger(interval));
                assert.ok(unhealthyThreshold >= 2 && unhealthyThreshold <= 10);
                const { minHealthyPercentage: min, maxHealthyPercentage: max } = settings.instanceMaintenancePolicy;
                assert.ok(min === 100 && max <= 200 && max - min <= 100 && (size * (max - min)) / 100 >= 1);
                const percentages = settings.instanceRefresh.checkpointPercentages;
                assert.equal(percentages.at(-1), 100);
                for (let at = 1; at < percentages.length; at++)
                    assert.ok((percentages[at] ?? 0) > (percentages[at - 1] ?? 0));
            }),
        );
    });
});
