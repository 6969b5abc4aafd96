import assert from "node:assert/strict";
import * as fc from "fast-check";
import { schedules, simulate } from "./simulate";

describe("the replacement loop, simulated", () => {
    it("keeps its rules in any schedule of faults and crashes", async function () {
        this.timeout(120_000);
        let runs = 0;
        const keepsRules = fc.asyncProperty(schedules(), async (schedule) => {
            const result = await simulate(schedule);
            runs += result.runs;
            assert.deepEqual(result.broken, []);
        });
        await fc.assert(keepsRules, { numRuns: 300, seed: 20170601, endOnFailure: true });
        assert.ok(runs > 300, `only ${runs} replacements: the schedules do not try much`);
    });

    const calm = { size: 2, budgetPerHour: 12, budgetPerDayPerServer: 6, faults: [], crashes: [] };

    it("leaves a healthy pool alone", async () => {
        assert.deepEqual(await simulate(calm), { runs: 0, crashes: 0, broken: [], whole: true, expected: true });
    });

    it("replaces each of two servers that die at once, one after the other", async () => {
        const faults = [0, 1].map((slot) => ({ kind: "die", at: 10, seconds: 1, slot }) as const);
        const result = await simulate({ ...calm, faults });
        assert.deepEqual(result, { runs: 2, crashes: 0, broken: [], whole: true, expected: true });
    });

    it("never replaces a server that flaps", async () => {
        const result = await simulate({ ...calm, faults: [{ kind: "flap", at: 10, seconds: 100, slot: 0 }] });
        assert.equal(result.runs, 0);
    });

    it("does nothing when all are lost at once", async () => {
        const result = await simulate({ ...calm, faults: [{ kind: "partition", at: 10, seconds: 100, slot: 0 }] });
        assert.deepEqual(result, { runs: 0, crashes: 0, broken: [], whole: true, expected: true });
    });

    it("gives up on an image that never passes after three tries", async () => {
        const result = await simulate({
            ...calm,
            faults: [
                { kind: "badImage", at: 5, seconds: 500, slot: 0 },
                { kind: "die", at: 10, seconds: 1, slot: 0 },
            ],
        });
        // The tries' memory of 150 s forgets the first one in the 520 s that this takes, so more than three follow.
        assert.deepEqual(result.broken, []);
        assert.ok(result.runs >= 3 && result.runs <= 10, `${result.runs} tries`);
    });
});
