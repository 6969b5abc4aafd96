import assert from "node:assert/strict";
import {
    backoffSeconds,
    defaultPolicy,
    localPolicy,
    maxGone,
    replacementPolicySchema,
    resolvePolicy,
} from "../../replacement/core/policy";

describe("replacement policy", () => {
    it("lets a third of the pool be gone, and always one", () => {
        const limits = [1, 2, 3, 5, 6, 9, 10].map((size) => maxGone(defaultPolicy, size));
        assert.deepEqual(limits, [1, 1, 1, 1, 2, 3, 3]);
        assert.equal(maxGone({ ...defaultPolicy, maxGone: 4 }, 2), 4);
    });

    it("doubles the backoff up to its limit", () => {
        const waits = [1, 2, 3, 4, 5, 6].map((tries) => backoffSeconds(defaultPolicy, tries));
        assert.deepEqual(waits, [120, 240, 480, 960, 1800, 1800]);
        assert.equal(backoffSeconds(defaultPolicy, 0), 120);
    });

    it("takes what the user says and the target's defaults for the rest", () => {
        const overrides = replacementPolicySchema.parse({ softSeconds: 5, paused: true });
        assert.deepEqual(resolvePolicy(localPolicy, overrides), { ...localPolicy, softSeconds: 5, paused: true });
        assert.deepEqual(resolvePolicy(defaultPolicy, replacementPolicySchema.parse({})), defaultPolicy);
        assert.deepEqual(resolvePolicy(localPolicy), localPolicy);
    });

    it("knows a default of every setting of the schema, but for the breaker's formula", () => {
        const known = Object.keys(replacementPolicySchema.shape).filter((key) => key !== "maxGone");
        assert.deepEqual(Object.keys(defaultPolicy).sort(), known.sort());
        assert.ok(replacementPolicySchema.safeParse({ ...localPolicy, maxGone: 1 }).success);
    });

    it("rejects what cannot be", () => {
        for (const wrong of [
            { softSeconds: 0 },
            { softSeconds: "10" },
            { triesPerSlot: 1.5 },
            { budgetPerHour: -1 },
            { maxGone: 0 },
            { softSecond: 1 },
        ]) {
            assert.equal(replacementPolicySchema.safeParse(wrong).success, false, JSON.stringify(wrong));
        }
    });
});
