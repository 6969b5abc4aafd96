import assert from "node:assert/strict";
import { decide, signature } from "../../replacement/core/decide";
import { emptyMemory, type Memory } from "../../replacement/core/loopMemory";
import { isLost, type Observation, type SlotObservation } from "../../replacement/core/observation";
import type { ReplacementPolicy } from "../../replacement/core/policy";
import { gone, lost, memory, NOW, observation, policy, remembered, slot } from "./replacementFixtures";

/** gw-0 has been gone for one sighting, and gw-1 is healthy. */
const dead = () => observation({ slots: [slot(gone), slot({ slot: "gw-1" })] });
const deadBefore = (changes: Partial<Memory> = {}, own: Parameters<typeof remembered>[1] = {}) =>
    memory({
        slots: {
            "gw-0": remembered("gw-0", { hard: { count: 1, last: NOW - 10 }, ...own }),
            "gw-1": remembered("gw-1"),
        },
        ...changes,
    });
/** gw-0 has been lost for so many seconds. */
const hung = () => observation({ slots: [slot(lost), slot({ slot: "gw-1" })] });
const hungBefore = (seconds: number, own: Parameters<typeof remembered>[1] = {}) =>
    memory({ slots: { "gw-0": remembered("gw-0", { lostSince: NOW - seconds, ...own }), "gw-1": remembered("gw-1") } });

interface Case {
    readonly seen?: Observation;
    readonly before?: Memory;
    readonly policy?: Partial<ReplacementPolicy>;
}
const run = ({ seen = dead(), before = deadBefore(), policy: changes = {} }: Case) =>
    decide(seen, before, { ...policy, ...changes });

/** The gates that say no, as `pool.NAME` and `SLOT.NAME`. */
function stops(decided: ReturnType<typeof decide>): string[] {
    const failing = (scope: string, verdicts: readonly { gate: string; passed: boolean }[]) =>
        verdicts.filter(({ passed }) => !passed).map(({ gate }) => `${scope}.${gate}`);
    return [...failing("pool", decided.pool), ...decided.slots.flatMap((own) => failing(own.slot, own.verdicts))];
}

/** The case is stopped by exactly these gates, for this reason. */
function stopped(given: Case, gates: readonly string[], reason: RegExp): void {
    const decided = run(given);
    assert.deepEqual(decided.actions, []);
    assert.deepEqual(stops(decided), gates);
    assert.match(decided.reasons.join("\n"), reason);
}

describe("replacement decision", () => {
    it("does nothing with a healthy pool, and says so", () => {
        const decided = run({ seen: observation(), before: memory() });
        assert.deepEqual(decided.actions, []);
        assert.deepEqual(decided.reasons, ["2 of 2 servers healthy, no evidence against any"]);
        assert.deepEqual(stops(decided), []);
        assert.deepEqual(
            decided.slots.map(({ condition, verdicts }) => [condition, verdicts]),
            [
                ["healthy", []],
                ["healthy", []],
            ],
        );
    });

    it("replaces a server that is gone at its second sighting", () => {
        const decided = run({});
        assert.deepEqual(decided.actions, [
            {
                kind: "replace",
                slot: "gw-0",
                urn: "urn:gw-0",
                serverId: "gw-0-a",
                evidence: "hard",
                reason: 'the control plane says "gone" (no record of it), seen 2 of 2 times',
            },
        ]);
        assert.deepEqual(decided.reasons, [
            'replace gw-0 (hard evidence): the control plane says "gone" (no record of it), seen 2 of 2 times',
        ]);
        assert.deepEqual(decided.memory.taken, [], "nothing is taken before the preview");
        stopped({ before: memory() }, ["gw-0.evidence"], /seen 1 of 2 times/);
    });

    it("replaces a server that is lost after softSeconds", () => {
        const decided = run({ seen: hung(), before: hungBefore(300) });
        assert.deepEqual(
            decided.actions.map(({ slot, evidence }) => [slot, evidence]),
            [["gw-0", "soft"]],
        );
        stopped({ seen: hung(), before: hungBefore(299) }, ["gw-0.evidence"], /lost .* for 299 of 300 s/);
    });

    it("says what comes next when only evidence is missing, and not for long", () => {
        const next = (given: Case) => run(given).next?.slot;
        assert.equal(next({ before: memory() }), "gw-0", "one of two sightings");
        const serves = slot({ controlPlane: { state: "gone" } });
        const justDeleted = observation({ slots: [serves, slot({ slot: "gw-1" })] });
        assert.equal(next({ seen: justDeleted, before: memory() }), "gw-0", "its calls end in a moment");
        assert.equal(next({}), undefined, "there is something to do now");
        const soon = hungBefore(300 - policy.maxGapSeconds / 2);
        assert.equal(next({ seen: hung(), before: soon }), "gw-0");
        assert.equal(next({ seen: hung(), before: hungBefore(300 - policy.maxGapSeconds) }), undefined, "not soon");
        assert.equal(next({ before: memory(), policy: { paused: true } }), undefined);
        assert.equal(next({ before: memory(), policy: { dryRun: true } }), undefined);
        assert.equal(next({ before: memory({ taken: [NOW, NOW, NOW] }) }), undefined, "no budget");
        const { "gw-1": other = remembered("gw-1") } = memory().slots;
        const backoff = { "gw-0": remembered("gw-0", { notBefore: NOW + 1 }), "gw-1": other };
        assert.equal(next({ before: memory({ slots: backoff }) }), undefined, "another rule says no");
    });

    it("gives every gate's verdict with what it judged", () => {
        const decided = run({ before: deadBefore({ taken: [NOW - 10] }) });
        assert.deepEqual(
            decided.pool.map(({ gate, passed }) => [gate, passed]),
            [
                ["pause", true],
                ["deployment", true],
                ["consulLeader", true],
                ["controlPlane", true],
                ["massLoss", true],
                ["leftovers", true],
                ["inFlight", true],
                ["hold", true],
                ["budgetHour", true],
                ["budgetDay", true],
                ["dryRun", true],
            ],
        );
        assert.deepEqual(
            decided.slots[0]?.verdicts.map(({ gate, passed }) => [gate, passed]),
            [
                ["evidence", true],
                ["contradiction", true],
                ["bootGrace", true],
                ["breaker", true],
                ["stopped", true],
                ["tries", true],
                ["backoff", true],
            ],
        );
        const budget = decided.pool.find(({ gate }) => gate === "budgetHour");
        assert.deepEqual(budget, {
            gate: "budgetHour",
            passed: true,
            reason: "2 of 3 replacements an hour left",
            inputs: { used: 1, limit: 3 },
        });
    });

    it("is the same for the same arguments, also after a way through JSON", () => {
        const copy = (value: unknown) => JSON.parse(JSON.stringify(value));
        const again = decide(copy(dead()), copy(deadBefore()), copy(policy));
        assert.deepEqual(copy(again), copy(run({})));
    });

    describe("about the pool", () => {
        it("is stopped by the pause switch, by configuration, and by a switch that cannot be read", () => {
            const pause = { who: "ann", why: "upgrade", when: NOW };
            stopped({ seen: { ...dead(), pause } }, ["pool.pause"], /paused by ann: upgrade/);
            stopped({ seen: { ...dead(), pause: "unknown" } }, ["pool.pause"], /the pause switch cannot be read/);
            stopped({ policy: { paused: true } }, ["pool.pause"], /paused by configuration/);
        });

        it("only says what it would do in a dry run", () => {
            const decided = run({ policy: { dryRun: true } });
            assert.deepEqual(decided.actions, []);
            assert.equal(decided.wouldAct?.slot, "gw-0");
            assert.match(decided.reasons[0] ?? "", /^would replace gw-0/);
            assert.equal(run({ seen: observation(), policy: { dryRun: true } }).wouldAct, undefined);
        });

        it("is frozen when blind", () => {
            const blind = { seen: false, error: "down" };
            stopped({ seen: { ...dead(), consul: blind } }, ["pool.consulLeader"], /frozen because blind: down/);
            stopped({ seen: { ...dead(), controlPlane: blind } }, ["pool.controlPlane"], /frozen because blind: down/);
            const gates = ["pool.deployment", "gw-0.evidence"];
            stopped({ seen: { ...dead(), deployment: blind } }, gates, /frozen because blind: down/);
        });

        const pool = (size: number, losses: number, own: Parameters<typeof remembered>[1] = {}) => {
            const names = Array.from({ length: size }, (_, index) => `gw-${index}`);
            return {
                seen: observation({
                    slots: names.map((name, at) => slot({ slot: name, ...(at < losses ? lost : {}) })),
                }),
                before: memory({
                    slots: Object.fromEntries(
                        names.map((name, at) => [
                            name,
                            remembered(name, at < losses ? { lostSince: NOW - 400, ...own } : {}),
                        ]),
                    ),
                }),
            };
        };

        it("is frozen when half of it or more is lost at once, and all of it at a size of two or one", () => {
            const frozen = (size: number, losses: number) => stops(run(pool(size, losses))).includes("pool.massLoss");
            const expected: Record<number, number> = { 1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4 };
            for (const [size, limit] of Object.entries(expected)) {
                assert.equal(frozen(Number(size), limit - 1), false, `${limit - 1} of ${size}`);
                assert.equal(frozen(Number(size), limit), true, `${limit} of ${size}`);
            }
        });

        it("tries one when all have been lost for twice the usual time, and no other before that one is well", () => {
            const long = pool(3, 3, { lostSince: NOW - 600 });
            assert.deepEqual(
                run(long).actions.map(({ slot, evidence }) => [slot, evidence]),
                [["gw-0", "soft"]],
            );
            assert.deepEqual(stops(run(pool(3, 3, { lostSince: NOW - 599 }))), [
                "pool.massLoss",
                ...["gw-0", "gw-1", "gw-2"].map((name) => `${name}.breaker`),
            ]);
            const tried = pool(3, 3, { lostSince: NOW - 600, tries: [NOW - 700] });
            assert.deepEqual(run(tried).actions, []);
            // Two of five are fewer than half, but more than may be out of service.
            assert.equal(run(pool(5, 2, { lostSince: NOW - 600 })).actions.length, 1);
            assert.equal(run(pool(5, 2, { lostSince: NOW - 599 })).actions.length, 0);
        });

        it("tries none on the word of a single observer, of one that is blind, or beside one that boots", () => {
            const long = pool(2, 2, { lostSince: NOW - 900 });
            const changed = (changes: Partial<SlotObservation>) => ({
                ...long,
                seen: { ...long.seen, slots: long.seen.slots.map((each) => ({ ...each, ...changes })) },
            });
            assert.equal(run(long).actions.length, 1);
            assert.deepEqual(run(changed({ balancers: {} })).actions, []);
            assert.deepEqual(run(changed({ balancers: { "lb-0": "unknown" } })).actions, []);
            assert.deepEqual(run(changed({ consul: "none", balancers: { "lb-0": "down" } })).actions, []);
            const blind = { ...long.seen, consul: { seen: false, error: "no leader" } };
            assert.deepEqual(run({ ...long, seen: blind }).actions, []);
            const booting = pool(3, 2, { lostSince: NOW - 900 });
            const slots = booting.seen.slots.map((each) => (each.slot === "gw-2" ? { ...each, ...lost } : each));
            assert.deepEqual(run({ ...booting, seen: { ...booting.seen, slots } }).actions, []);
        });

        it("is not frozen by servers that are dead for sure, that boot, or that were given up", () => {
            const names = ["gw-0", "gw-1"];
            const allGone = {
                seen: observation({ slots: names.map((name) => slot({ slot: name, ...gone })) }),
                before: memory({
                    slots: Object.fromEntries(
                        names.map((name) => [name, remembered(name, { hard: { count: 1, last: NOW - 1 } })]),
                    ),
                }),
            };
            assert.deepEqual(
                run(allGone).actions.map(({ slot }) => slot),
                ["gw-0"],
            );
            assert.match(run(allGone).reasons[1] ?? "", /gw-1 is gone, not replaced: gw-0 comes first/);
            const massLoss = (own: Parameters<typeof remembered>[1]) =>
                stops(run(pool(2, 2, own))).includes("pool.massLoss");
            const booting = { passed: false, activeSince: NOW - 9 };
            assert.equal(massLoss({}), true);
            const young = pool(2, 2, booting);
            const seen = {
                ...young.seen,
                slots: young.seen.slots.map((own) => ({ ...own, controlPlane: { state: "active" as const } })),
            };
            assert.equal(stops(run({ ...young, seen })).includes("pool.massLoss"), false);
            assert.equal(massLoss({ tries: [NOW - 3, NOW - 2, NOW - 1] }), false);
            assert.equal(massLoss({ stopped: { time: NOW, reason: "invalid", serverId: "gw-0-a" } }), false);
        });

        it("waits for the replacement in flight", () => {
            const inFlight = {
                slot: "gw-1",
                evidence: "hard",
                serverId: "x",
                startedAt: NOW - 70,
                finishedAt: NOW - 60,
            } as const;
            const flying = (healthySince: number) =>
                deadBefore({
                    inFlight,
                    slots: {
                        "gw-0": remembered("gw-0", { hard: { count: 1, last: NOW - 10 } }),
                        "gw-1": remembered("gw-1", { healthySince }),
                    },
                });
            stopped(
                { before: flying(NOW - 59) },
                ["pool.inFlight"],
                /replacement of gw-1 is in flight: healthy for 59 of 60 s/,
            );
            assert.equal(run({ before: flying(NOW - 60) }).actions.length, 1);
        });

        it("holds", () => {
            const hold = (until: number) => deadBefore({ hold: { until, reason: "quota is used up" } });
            stopped({ before: hold(NOW + 5) }, ["pool.hold"], /held for 5 s: quota is used up/);
            assert.equal(run({ before: hold(NOW) }).actions.length, 1);
        });

        it("keeps to the budgets of an hour and of a day", () => {
            const ago = (...seconds: number[]) => deadBefore({ taken: seconds.map((second) => NOW - second) });
            stopped({ before: ago(3599, 2, 1) }, ["pool.budgetHour"], /all 3 replacements an hour are used up/);
            assert.equal(run({ before: ago(3600, 2, 1) }).actions.length, 1);
            stopped(
                { before: ago(86_399, 9000, 8000, 7000) },
                ["pool.budgetDay"],
                /all 4 replacements a day are used up/,
            );
            assert.equal(run({ before: ago(86_400, 9000, 8000, 7000) }).actions.length, 1);
            stopped({ before: ago(-50, -40, 1) }, ["pool.budgetHour"], /used up/);
        });
    });

    describe("about a slot", () => {
        it("does not believe that a server is gone which Consul and a balancer see at work", () => {
            const controlPlane = { state: "gone" } as const;
            const seen = (changes: Parameters<typeof slot>[0]) =>
                observation({ slots: [slot({ controlPlane, ...changes }), slot({ slot: "gw-1" })] });
            stopped({ seen: seen({}) }, ["gw-0.contradiction"], /Consul and a balancer see it at work/);
            stopped({ seen: seen({ balancers: {} }) }, ["gw-0.contradiction"], /at work/);
            stopped({ seen: seen({ balancers: { a: "down", b: "up" } }) }, ["gw-0.contradiction"], /at work/);
            assert.equal(run({ seen: seen({ consul: "critical" }) }).actions.length, 1);
            assert.equal(run({ seen: seen({ balancers: { a: "down", b: "unknown" } }) }).actions.length, 1);
        });

        it("leaves a server the time to boot, unless it is gone", () => {
            const young = { passed: false, activeSince: NOW - 599 };
            const seen = (activeSince: number, changes = lost as Parameters<typeof slot>[0]) =>
                observation({
                    slots: [
                        slot({ controlPlane: { state: "active", activeSince }, ...changes }),
                        slot({ slot: "gw-1" }),
                    ],
                });
            stopped(
                { seen: seen(NOW - 599), before: hungBefore(400, young) },
                ["gw-0.bootGrace"],
                /may be booting: active for 599 of 600 s and never healthy/,
            );
            assert.equal(
                run({ seen: seen(NOW - 599), before: hungBefore(400, young) }).slots[0]?.condition,
                "starting",
            );
            assert.equal(run({ seen: seen(NOW - 600), before: hungBefore(400, young) }).actions.length, 1);
            assert.equal(run({ seen: seen(NOW - 599), before: hungBefore(400, { passed: true }) }).actions.length, 1);
            assert.equal(run({ seen: seen(NOW - 5, gone), before: deadBefore({}, young) }).actions.length, 1);
        });

        it("trips the breaker rather than take a second server away, and not for one that is gone", () => {
            const other = (changes: Parameters<typeof slot>[0], own: typeof lost | typeof gone) =>
                observation({ slots: [slot(own), slot({ slot: "gw-1", ...changes }), slot({ slot: "gw-2" })] });
            stopped(
                { seen: other({ consul: "warning" }, lost), before: hungBefore(400) },
                ["gw-0.breaker"],
                /2 would be out of service, but at most 1 may be; not serving: gw-1/,
            );
            const two = { seen: other({ consul: "warning" }, lost), before: hungBefore(400), policy: { maxGone: 2 } };
            assert.equal(run(two).actions.length, 1);
            assert.equal(run({ seen: other({ consul: "warning" }, gone) }).actions.length, 1);
        });

        it("leaves a slot alone that was stopped, until it has another server", () => {
            const stop = { time: NOW - 5, reason: "invalid image", serverId: "gw-0-a" };
            stopped({ before: deadBefore({}, { stopped: stop }) }, ["gw-0.stopped"], /stopped: invalid image/);
            const other = deadBefore({}, { stopped: { ...stop, serverId: "gw-0-earlier" } });
            assert.equal(run({ before: other }).actions.length, 1);
        });

        it("gives up after three tries in an hour", () => {
            const tries = (first: number) => deadBefore({}, { tries: [NOW - first, NOW - 20, NOW - 10] });
            stopped({ before: tries(3599) }, ["gw-0.tries"], /given up after 3 tries in 3600 s/);
            assert.equal(run({ before: tries(3600) }).actions.length, 1);
        });

        it("waits for the end of its backoff", () => {
            stopped({ before: deadBefore({}, { notBefore: NOW + 3 }) }, ["gw-0.backoff"], /backoff for another 3 s/);
            assert.equal(run({ before: deadBefore({}, { notBefore: NOW }) }).actions.length, 1);
        });
    });

    it("prefers hard evidence, then goes by name, and takes one only", () => {
        const names = ["gw-0", "gw-1", "gw-2", "gw-3", "gw-4", "gw-5"];
        const given = {
            seen: observation({
                slots: names.map((name) => slot({ slot: name, ...{ "gw-0": lost, "gw-2": gone, "gw-1": gone }[name] })),
            }),
            before: memory({
                slots: {
                    ...Object.fromEntries(names.map((name) => [name, remembered(name)])),
                    "gw-0": remembered("gw-0", { lostSince: NOW - 400 }),
                    "gw-1": remembered("gw-1", { hard: { count: 1, last: NOW - 1 } }),
                    "gw-2": remembered("gw-2", { hard: { count: 1, last: NOW - 1 } }),
                },
            }),
            policy: { maxGone: 6 },
        };
        assert.deepEqual(
            run(given).actions.map(({ slot }) => slot),
            ["gw-1"],
        );
    });

    it("goes on with another slot when the first one may not be replaced", () => {
        const seen = observation({ slots: [slot(gone), slot({ slot: "gw-1", ...gone })] });
        const hard = { count: 1, last: NOW - 1 };
        const before = memory({
            slots: { "gw-0": remembered("gw-0", { hard, notBefore: NOW + 9 }), "gw-1": remembered("gw-1", { hard }) },
        });
        assert.deepEqual(
            run({ seen, before }).actions.map(({ slot }) => slot),
            ["gw-1"],
        );
    });

    it("copes with a pool of none", () => {
        const decided = decide(observation({ slots: [] }), emptyMemory, policy);
        assert.deepEqual(decided.actions, []);
        assert.deepEqual(decided.reasons.slice(0, 1), ["0 of 0 servers healthy, no evidence against any"]);
    });

    it("has the same signature as long as only time passes", () => {
        const at = (time: number) => signature(decide({ ...hung(), time }, hungBefore(100), policy));
        assert.equal(at(NOW), at(NOW + 5));
        assert.notEqual(at(NOW), signature(run({})));
        assert.notEqual(at(NOW), signature(decide(hung(), hungBefore(300), policy)));
    });

    describe("without Consul", () => {
        const none = { consul: "none" } as const;
        const without = (first: object, second: object = {}): Observation =>
            observation({
                consul: { seen: true, none: true },
                slots: [slot({ ...none, ...first }), slot({ slot: "gw-1", ...none, ...second })],
            });
        const down = { balancers: { "lb-0": "down", "lb-1": "down" } } as const;
        const long = (first: object) =>
            memory({ slots: { "gw-0": remembered("gw-0", first), "gw-1": remembered("gw-1") } });
        const acts = (seen: Observation, before: Memory) =>
            decide(seen, before, policy).actions.map(({ slot: name }) => name);

        it("takes all for healthy that the balancers use", () => {
            const decision = decide(without({}), memory(), policy);
            assert.deepEqual(
                decision.slots.map(({ condition }) => condition),
                ["healthy", "healthy"],
            );
        });

        it("replaces what is gone, and what both balancers have lost for long", () => {
            const hard = { hard: { count: 1, last: NOW - 10 } };
            assert.deepEqual(acts(without({ ...gone, ...none }), long(hard)), ["gw-0"]);
            assert.deepEqual(acts(without(down), long({ lostSince: NOW - policy.softSeconds })), ["gw-0"]);
        });

        it("does not when one balancer still uses it, or cannot be asked, or the whole pool is lost", () => {
            const before = long({ lostSince: NOW - policy.softSeconds });
            for (const other of ["up", "unknown"] as const) {
                assert.deepEqual(acts(without({ balancers: { "lb-0": "down", "lb-1": other } }), before), [], other);
            }
            const decision = decide(without(down, down), before, policy);
            assert.deepEqual(decision.actions, []);
            assert.match(decision.reasons.join(), /more likely the balancers are wrong/);
        });

        it("is content with the only balancer that there is", () => {
            const word = (state: "up" | "down") => isLost(slot({ ...none, balancers: { "lb-0": state } }), 2);
            assert.deepEqual([word("down"), word("up")], [true, false]);
        });

        it("does not believe a control plane that a balancer contradicts", () => {
            const hard = { hard: { count: 1, last: NOW - 10 } };
            const { controlPlane } = gone;
            assert.deepEqual(acts(without({ controlPlane }), long(hard)), []);
        });
    });
});
