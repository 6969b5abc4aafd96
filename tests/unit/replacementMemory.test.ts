import assert from "node:assert/strict";
import {
    allowRetry,
    beginReplacement,
    emptyMemory,
    lastingPart,
    type Memory,
    memorySchema,
    remember,
    settleReplacement,
} from "../../replacement/core/loopMemory";
import type { Observation } from "../../replacement/core/observation";
import { action, gone, lost, memory, NOW, observation, policy, remembered, slot } from "./replacementFixtures";

const one = (memory: Memory) => {
    const found = memory.slots["gw-0"];
    assert.ok(found);
    return found;
};
const see = (changes: Parameters<typeof slot>[0], rest: Partial<Observation> = {}) =>
    observation({ slots: [slot(changes), slot({ slot: "gw-1" })], ...rest });

describe("replacement memory", () => {
    it("remembers a pool from its first sight", () => {
        const seen = remember(see({ consul: "critical" }), emptyMemory, policy);
        assert.deepEqual(seen, {
            version: 1,
            observedAt: NOW,
            taken: [],
            slots: {
                "gw-0": { serverId: "gw-0-a", activeSince: NOW - 5000, passed: false, tries: [] },
                "gw-1": { serverId: "gw-1-a", activeSince: NOW - 5000, passed: true, healthySince: NOW, tries: [] },
            },
        });
        assert.deepEqual(memorySchema.parse(JSON.parse(JSON.stringify(seen))), seen);
    });

    it("does not change its arguments", () => {
        const before = memory({ taken: [NOW - 100_000, NOW - 5], hold: { until: NOW - 1, reason: "quota" } });
        const copy = structuredClone(before);
        remember(see(gone), before, policy);
        settleReplacement(
            beginReplacement(before, action, NOW),
            action,
            { kind: "quota", reason: "full" },
            NOW,
            policy,
        );
        assert.deepEqual(before, copy);
    });

    it("counts sightings of a server that is gone, if they follow each other in time", () => {
        const once = remember(see(gone), memory(), policy);
        assert.deepEqual(one(once).hard, { count: 1, last: NOW });
        assert.deepEqual(one(remember(see(gone, { time: NOW + 60 }), once, policy)).hard, { count: 2, last: NOW + 60 });
        assert.deepEqual(one(remember(see(gone, { time: NOW + 61 }), once, policy)).hard, { count: 1, last: NOW + 61 });
        assert.deepEqual(one(remember(see(gone, { time: NOW }), once, policy)).hard, { count: 1, last: NOW });
        assert.deepEqual(one(remember(see(gone, { time: NOW - 1 }), once, policy)).hard, { count: 1, last: NOW - 1 });
        assert.equal(one(remember(see({}, { time: NOW + 1 }), once, policy)).hard, undefined);
        const unknown = see({ controlPlane: { state: "unknown" } }, { time: NOW + 1 });
        assert.deepEqual(one(remember(unknown, once, policy)).hard, { count: 1, last: NOW });
    });

    it("counts a failed server as one that is gone, a building one not", () => {
        assert.equal(one(remember(see({ controlPlane: { state: "error" } }), memory(), policy)).hard?.count, 1);
        assert.equal(one(remember(see({ controlPlane: { state: "building" } }), memory(), policy)).hard, undefined);
    });

    it("measures how long a server is lost, as long as it is observed to be", () => {
        const first = remember(see(lost), memory(), policy);
        assert.equal(one(first).lostSince, NOW);
        const at = (time: number, rest: Partial<Observation> = {}) =>
            one(remember(see(lost, { time, ...rest }), first, policy)).lostSince;
        assert.equal(at(NOW + 60), NOW);
        assert.equal(at(NOW + 61), NOW + 61, "a gap of more than maxGapSeconds");
        assert.equal(at(NOW - 1), NOW - 1, "a clock that was set back");
        assert.equal(at(NOW + 10, { consul: { seen: false } }), undefined, "blind");
        assert.equal(at(NOW + 10, { controlPlane: { seen: false } }), undefined, "blind");
        assert.equal(one(remember(see({}, { time: NOW + 10 }), first, policy)).lostSince, undefined);
    });

    it("counts a server as lost only if two observers say so and none the contrary", () => {
        const cases: [Parameters<typeof slot>[0], boolean][] = [
            [{ consul: "critical", balancers: { a: "down", b: "down" } }, true],
            [{ consul: "absent", balancers: { a: "absent", b: "unknown" } }, true],
            [{ consul: "critical", balancers: { a: "maint", b: "drain" } }, true],
            [{ consul: "critical", balancers: { a: "unknown", b: "unknown" } }, false],
            [{ consul: "critical", balancers: { a: "down", b: "up" } }, false],
            [{ consul: "unknown", balancers: { a: "down", b: "down" } }, false],
            [{ consul: "warning", balancers: { a: "down", b: "down" } }, false],
            [{ consul: "maintenance", balancers: { a: "down", b: "down" } }, false],
            [{ consul: "passing", balancers: { a: "down", b: "down" } }, false],
            [{ consul: "critical", balancers: {} }, true],
            [{ consul: "critical", controlPlane: { state: "gone" }, balancers: {} }, false],
        ];
        for (const [changes, expected] of cases) {
            const { lostSince } = one(remember(see(changes), memory(), policy));
            assert.equal(lostSince !== undefined, expected, JSON.stringify(changes));
        }
    });

    it("takes a server for healthy only if all say so that can", () => {
        const cases: [Parameters<typeof slot>[0], boolean][] = [
            [{}, true],
            [{ balancers: { a: "up", b: "unknown" } }, true],
            [{ balancers: {} }, true],
            [{ balancers: { a: "unknown", b: "unknown" } }, false],
            [{ balancers: { a: "up", b: "down" } }, false],
            [{ balancers: { a: "up", b: "drain" } }, false],
            [{ consul: "warning" }, false],
            [{ controlPlane: { state: "building" } }, false],
            [{ controlPlane: { state: "gone" } }, false],
        ];
        for (const [changes, expected] of cases) {
            const { healthySince } = one(remember(see(changes), memory(), policy));
            assert.equal(healthySince !== undefined, expected, JSON.stringify(changes));
        }
    });

    it("starts anew with another server in the slot, but for the tries", () => {
        const before = memory({
            slots: {
                "gw-0": remembered("gw-0", {
                    lostSince: NOW - 50,
                    tries: [NOW - 100],
                    notBefore: NOW + 5,
                    stopped: { time: NOW - 9, reason: "invalid", serverId: "gw-0-a" },
                }),
            },
        });
        const controlPlane = { state: "active" } as const;
        const seen = one(remember(see({ serverId: "gw-0-b", controlPlane, ...lost }), before, policy));
        assert.deepEqual(seen, {
            serverId: "gw-0-b",
            activeSince: NOW,
            passed: false,
            lostSince: NOW,
            tries: [NOW - 100],
            notBefore: NOW + 5,
        });
    });

    it("forgets what is over", () => {
        const before = memory({
            taken: [NOW - 86_400, NOW - 86_399, NOW + 5],
            hold: { until: NOW, reason: "quota" },
            slots: { "gw-0": remembered("gw-0", { tries: [NOW - 3600, NOW - 3599], notBefore: NOW }) },
        });
        const seen = remember(observation(), before, policy);
        assert.deepEqual(seen.taken, [NOW - 86_399, NOW + 5]);
        assert.equal(seen.hold, undefined);
        assert.deepEqual(one(seen).tries, [NOW - 3599]);
        assert.equal(one(seen).notBefore, undefined);
    });

    it("keeps what it knows of the servers while the deployment's state is not known", () => {
        const before = memory({ slots: { "gw-0": remembered("gw-0", { lostSince: NOW - 100 }) } });
        const seen = remember(observation({ deployment: { seen: false }, slots: [] }), before, policy);
        assert.deepEqual(seen.slots, before.slots);
        const again = remember(see(lost, { time: NOW + 1 }), seen, policy);
        assert.equal(one(again).lostSince, NOW + 1, "what was not seen does not count");
    });

    describe("of a replacement in flight", () => {
        const flight = {
            slot: "gw-0",
            evidence: "hard",
            serverId: "old",
            startedAt: NOW - 40,
            finishedAt: NOW - 30,
        } as const;
        const flying = (changes: Parameters<typeof remembered>[1], rest: Partial<Memory> = {}) =>
            memory({
                inFlight: flight,
                slots: { "gw-0": remembered("gw-0", { tries: [NOW - 40], ...changes }), "gw-1": remembered("gw-1") },
                ...rest,
            });
        const booting = { state: "active", activeSince: NOW - 30 } as const;

        it("ends once its server was healthy for healthyBetweenSeconds, and the tries are forgotten", () => {
            const early = remember(observation(), flying({ healthySince: NOW - 59 }), policy);
            assert.deepEqual(early.inFlight, flight);
            const landed = remember(observation(), flying({ healthySince: NOW - 60, notBefore: NOW + 99 }), policy);
            assert.equal(landed.inFlight, undefined);
            assert.deepEqual(one(landed), { ...remembered("gw-0"), healthySince: NOW - 60 });
        });

        it("goes on while its server boots", () => {
            const seen = remember(see({ ...lost, controlPlane: booting }), flying({ passed: false }), policy);
            assert.deepEqual(seen.inFlight, flight);
        });

        it("has failed when its server is gone, and the slot backs off", () => {
            const seen = remember(see(gone), flying({ passed: false, hard: { count: 1, last: NOW - 10 } }), policy);
            assert.equal(seen.inFlight, undefined);
            assert.deepEqual(one(seen).tries, [NOW - 40]);
            assert.equal(one(seen).notBefore, NOW + 120);
        });

        it("has failed when its server was not healthy in all of the boot grace", () => {
            const old = { slot: "gw-0", evidence: "hard", serverId: "old", startedAt: NOW - 700 } as const;
            const at = (finishedAt: number) =>
                remember(
                    see({ ...lost, controlPlane: { state: "active", activeSince: NOW - 600 } }),
                    flying({ passed: false, lostSince: NOW - 100 }, { inFlight: { ...old, finishedAt } }),
                    policy,
                ).inFlight;
            assert.equal(at(NOW - 660), undefined);
            assert.notEqual(at(NOW - 659), undefined);
        });

        it("has failed when its server was lost for softSeconds after it had passed", () => {
            const seen = remember(see(lost), flying({ lostSince: NOW - 300 }), policy);
            assert.equal(seen.inFlight, undefined);
            assert.equal(one(seen).notBefore, NOW + 120);
            const young = remember(see(lost), flying({ lostSince: NOW - 299 }), policy);
            assert.deepEqual(young.inFlight, flight);
        });

        it("is judged only with sight", () => {
            const before = flying({ healthySince: NOW - 600 });
            assert.deepEqual(remember(observation({ consul: { seen: false } }), before, policy).inFlight, flight);
        });

        it("is marked when it never came to its end", () => {
            const { finishedAt: _, ...begun } = flight;
            const seen = remember(see(lost), flying({}, { inFlight: begun }), policy);
            assert.deepEqual(seen.inFlight, { ...begun, finishedAt: NOW, interrupted: true });
        });

        it("is forgotten with its slot", () => {
            const seen = remember(observation({ slots: [slot({ slot: "gw-1" })] }), flying({}), policy);
            assert.equal(seen.inFlight, undefined);
            assert.deepEqual(Object.keys(seen.slots), ["gw-1"]);
        });
    });

    describe("of a replacement's end", () => {
        const begun = beginReplacement(memory({ taken: [NOW - 9] }), action, NOW);
        const flight = { slot: "gw-0", evidence: "hard", serverId: "gw-0-a", startedAt: NOW } as const;

        it("has taken budget and try, and counts as not observing meanwhile", () => {
            assert.deepEqual(begun, {
                version: 1,
                slots: { "gw-0": remembered("gw-0", { tries: [NOW] }), "gw-1": remembered("gw-1") },
                taken: [NOW - 9, NOW],
                inFlight: flight,
            });
            assert.throws(() => beginReplacement(emptyMemory, action, NOW), /memory has no slot gw-0/);
        });

        const end = (kind: "refused" | "locked" | "quota" | "invalid" | "failed") =>
            settleReplacement(begun, action, { kind, reason: "why" }, NOW + 7, policy);

        it("keeps a successful one in flight", () => {
            const done = settleReplacement(begun, action, { kind: "done" }, NOW + 7, policy);
            assert.deepEqual(done, { ...begun, inFlight: { ...flight, finishedAt: NOW + 7 } });
        });

        it("backs off after a failure", () => {
            const failed = end("failed");
            assert.equal(failed.inFlight, undefined);
            assert.deepEqual(failed.taken, [NOW - 9, NOW]);
            assert.deepEqual(one(failed), remembered("gw-0", { tries: [NOW], notBefore: NOW + 7 + 120 }));
        });

        it("stops the slot at an invalid configuration", () => {
            assert.deepEqual(one(end("invalid")).stopped, { time: NOW + 7, reason: "why", serverId: "gw-0-a" });
            assert.equal(end("invalid").inFlight, undefined);
        });

        it("holds and gives back budget and try without quota, or with the stack locked", () => {
            for (const [kind, until] of [
                ["quota", NOW + 7 + 600],
                ["locked", NOW + 7 + 30],
            ] as const) {
                const { observedAt: _, ...expected } = memory({ taken: [NOW - 9], hold: { until, reason: "why" } });
                assert.deepEqual(end(kind), expected, kind);
            }
        });

        it("holds after a refused preview, for which nothing was taken", () => {
            const before = memory({ taken: [NOW] });
            const refused = settleReplacement(before, action, { kind: "refused", reason: "why" }, NOW, policy);
            assert.deepEqual(refused, { ...before, hold: { until: NOW + 600, reason: "why" } });
            const locked = settleReplacement(before, action, { kind: "locked", reason: "why" }, NOW, policy);
            assert.deepEqual(locked, { ...before, hold: { until: NOW + 30, reason: "why" } });
        });
    });

    it("lets an operator try a slot again", () => {
        const stopped = { time: NOW, reason: "invalid", serverId: "gw-0-a" };
        const before = memory({
            slots: { "gw-0": remembered("gw-0", { tries: [1, 2, 3], notBefore: NOW + 5, stopped }) },
        });
        assert.deepEqual(allowRetry(before, "gw-0").slots["gw-0"], remembered("gw-0"));
        assert.throws(() => allowRetry(before, "gw-7"), /unknown slot "gw-7"; known slots: gw-0/);
    });

    it("knows what of it has to last", () => {
        const before = memory();
        assert.equal(lastingPart(before), lastingPart({ ...before, observedAt: NOW + 50 }));
        assert.notEqual(lastingPart(before), lastingPart({ ...before, taken: [NOW] }));
        assert.notEqual(
            lastingPart(before),
            lastingPart({ ...before, slots: { "gw-0": remembered("gw-0", { tries: [NOW] }) } }),
        );
    });

    it("does not take what another version wrote", () => {
        assert.equal(memorySchema.safeParse({ ...emptyMemory, version: 2 }).success, false);
        assert.equal(memorySchema.safeParse({ ...emptyMemory, more: 1 }).success, false);
    });
});
