import assert from "node:assert/strict";
import * as fc from "fast-check";
import type { JournalEntry } from "../../replacement/journal";
import { type Result, type Schedule, schedules, simulate } from "./simulate";
import { START } from "./timeline";
import type { Fault, World } from "./world";

describe("the replacement loop, simulated", () => {
    it("keeps its rules in any schedule of faults and crashes", async function () {
        this.timeout(300_000);
        const total = { runs: 0, crashes: 0, epochs: 0, expected: 0 };
        const keepsRules = fc.asyncProperty(schedules(), async (schedule) => {
            const result = await simulate(schedule);
            for (const key of ["runs", "crashes", "epochs"] as const) total[key] += result[key];
            total.expected += Number(result.expected);
            assert.deepEqual(result.broken, []);
        });
        await fc.assert(keepsRules, { numRuns: 1000, seed: 20170601 });
        assert.ok(total.runs > 1000 && total.epochs > 1500, `the schedules do not try much: ${JSON.stringify(total)}`);
        assert.ok(total.expected > 400, `too few pools have to be whole at the end: ${total.expected}`);
    });

    const calm: Schedule = {
        ...{ size: 2, daemons: 3, budgetPerHour: 12, budgetPerDayPerServer: 6 },
        ...{ faults: [], crashes: [] },
    };
    const fault = (kind: Fault["kind"], at: number, seconds = 1, slot = 0): Fault => ({ kind, at, seconds, slot });

    /** Runs a schedule that has to end well, and gives what happened in it. */
    async function run(changes: Partial<Schedule>, well = true) {
        const entries: (JournalEntry & { readonly machine: number })[] = [];
        let world: World | undefined;
        const result: Result = await simulate(
            { ...calm, ...changes },
            {
                journal: (entry, machine) => entries.push({ ...entry, machine }),
                world: (made) => {
                    world = made;
                },
            },
        );
        assert.deepEqual(result.broken, []);
        assert.equal(result.whole, well);
        const of = <K extends JournalEntry["kind"]>(kind: K) =>
            entries.filter(
                (entry): entry is Extract<JournalEntry, { kind: K }> & { machine: number } => entry.kind === kind,
            );
        const runs = (world?.runs ?? []).map(
            ({ slot, result: how, startedAt }) => [slot, how, startedAt - START] as const,
        );
        const steps = of("recovery").filter(({ error }) => error === undefined);
        return { ...result, of, runs, steps: steps.map(({ step }) => step.kind), world };
    }

    it("goes the same way each time", async () => {
        const [schedule] = fc.sample(schedules(), { numRuns: 1, seed: 7 });
        assert.ok(schedule);
        const journals = await Promise.all(
            [1, 2].map(async () => {
                const lines: string[] = [];
                await simulate(schedule, { journal: (entry) => lines.push(JSON.stringify(entry)) });
                return lines;
            }),
        );
        assert.deepEqual(journals[0], journals[1]);
    });

    it("leaves a healthy pool alone, and the lock with its first leader", async () => {
        const { runs, epochs, crashes } = await run({});
        assert.deepEqual([runs, epochs, crashes], [[], 1, 0]);
    });

    it("replaces each of two servers that die at once, one after the other", async () => {
        const { runs } = await run({ faults: [fault("die", 10, 1, 0), fault("die", 10, 1, 1)] });
        assert.deepEqual(
            runs.map(([slot, how]) => [slot, how]),
            [
                [0, "done"],
                [1, "done"],
            ],
        );
    });

    it("gives a server that an operator has made the time to boot", async () => {
        assert.deepEqual((await run({ faults: [fault("slowBoot", 5, 60), fault("operator", 10)] })).runs, []);
    });

    // The scenarios of every self-healing system that was looked at, and what has to come of them.

    it("1: every gateway critical, and active for the control plane: frozen, nothing deleted", async () => {
        const { runs, of } = await run({ size: 3, faults: [fault("allCritical", 10, 100)] });
        assert.deepEqual(runs, []);
        assert.ok(of("decision").some(({ decision }) => /frozen because blind/.test(decision.reasons.join())));
    });

    it("1: every gateway hangs: one is replaced after twice the usual time, and the next ones as each gets well", async () => {
        for (const size of [2, 3, 4]) {
            const slots = [...Array(size).keys()];
            const { runs } = await run({ size, faults: slots.map((slot) => fault("hang", 10, 1, slot)) });
            assert.deepEqual(
                runs.map(([slot, how]) => [slot, how]),
                slots.map((slot) => [slot, "done"]),
                `a pool of ${size}`,
            );
        }
    });

    it("1: every gateway hangs, and its successor does, too: no second one is tried", async () => {
        const slots = [0, 1, 2];
        const faults = [fault("badImage", 1, 10_000), ...slots.map((slot) => fault("hang", 10, 1, slot))];
        const { runs } = await run({ size: 3, faults }, false);
        assert.ok(runs.length > 0);
        assert.deepEqual([...new Set(runs.map(([slot]) => slot))], [0]);
    });

    for (const kind of ["stopDaemon", "stopMachine"] as const) {
        it(`2: the leader is stopped for 60 s in the middle of a replacement (${kind}): one server per slot`, async () => {
            for (let second = 10; second < 24; second++) {
                const { epochs, runs } = await run({ faults: [fault("die", 8), fault(kind, second, 60)] });
                assert.equal(epochs, 2, `stopped at ${second}`);
                assert.ok(runs.length >= 1 && runs.length <= 2, `stopped at ${second}: ${JSON.stringify(runs)}`);
            }
        });
    }

    it("2: a leader that is cut off in the middle of a replacement interrupts its engine", async () => {
        const { epochs, of } = await run({
            faults: [
                fault("hang", 6),
                fault("stuckDelete", 5, 60),
                fault("cutOff", 22, 60),
                fault("cutOff", 22, 60, 3),
            ],
        });
        assert.equal(epochs, 2);
        assert.equal(of("leadership").filter(({ event }) => event.kind === "lost").length, 1);
    });

    it("2: a server that an earlier leader's engine made at the last moment is deleted", async () => {
        const { steps, runs } = await run({ faults: [fault("duplicate", 20)] });
        assert.deepEqual(steps, ["deleteServer"]);
        assert.deepEqual(runs, []);
    });

    it("3: killed between the creation and its being written down: adopted, no duplicate", async () => {
        const seen = new Set<string>();
        for (let second = 10; second < 24; second++) {
            const { steps, world } = await run({ faults: [fault("die", 8), fault("killMachine", second, 5)] });
            for (const step of steps) seen.add(step);
            if (steps.includes("adopt")) assert.equal(world?.servers.filter(({ slot }) => slot === 0).length, 2);
        }
        assert.ok(seen.has("adopt") && seen.has("removeLock"), [...seen].join());
    });

    it("4: the lock of a dead owner is removed once, that of a living one never", async () => {
        const held = await run({ faults: [fault("locked", 5, 100), fault("die", 10)] });
        assert.deepEqual(held.steps, []);
        assert.ok(held.runs.every(([, , at]) => at >= 105));
        const own = await run({ daemons: 1, faults: [fault("locked", 5, 100), fault("die", 10)] });
        assert.deepEqual(own.steps, []);
        // The leader's process is stopped, and its engine goes on: its successor leaves the lock alone.
        const stopped = await run({
            faults: [fault("hang", 6), fault("stuckDelete", 5, 100), fault("stopDaemon", 23, 70)],
        });
        assert.equal(stopped.epochs, 2);
        assert.deepEqual(
            stopped.runs.map(([slot, , at]) => [slot, at < 23 || at > 93]),
            stopped.runs.map(() => [0, true]),
        );
        const dead = await run({ daemons: 1, faults: [fault("die", 8), fault("killMachine", 16, 5)] });
        assert.equal(dead.steps.filter((step) => step === "removeLock").length, 1);
    });

    it("5: no quota or no valid host: one try per hold, and nothing leaks", async () => {
        for (const kind of ["quota", "noValidHost"] as const) {
            const { runs } = await run({ faults: [fault(kind, 5, 100), fault("die", 8)] });
            const tries = runs.filter(([, how]) => how === "quota").map(([, , at]) => at);
            assert.ok(tries.length >= 2 && tries.length <= 4, `${kind}: ${tries}`);
            for (let at = 1; at < tries.length; at++) assert.ok((tries[at] ?? 0) - (tries[at - 1] ?? 0) >= 30);
        }
    });

    it("6: a deletion is stuck: its slot is quarantined, the others are served", async () => {
        const { runs, of } = await run({
            size: 4,
            faults: [fault("stuckDelete", 5, 114), fault("hang", 6), fault("die", 60, 1, 1)],
        });
        const stuck = of("action").filter(({ report }) => report.outcome.kind === "stuck");
        assert.deepEqual(
            stuck.map(({ action }) => action.slot),
            ["gw-0"],
        );
        assert.ok(
            runs.some(([slot, how, at]) => slot === 1 && how === "done" && at < 118),
            JSON.stringify(runs),
        );
    });

    it("7: an image that never passes: three replacements, then it stops", async () => {
        const { runs } = await run({ size: 3, faults: [fault("badImage", 5, 900), fault("die", 10)] }, false);
        // An operator lets the slot be tried again after 120 s, and the tries' memory of 150 s forgets them.
        const first = runs.filter(([, , at]) => at < 120);
        assert.equal(first.length, 3, JSON.stringify(runs));
        assert.ok(runs.every(([slot]) => slot === 0));
    });

    it("8: a server that flaps is not replaced", async () => {
        assert.deepEqual((await run({ faults: [fault("flap", 10, 100)] })).runs, []);
    });

    it("9: Consul elects a leader while the control plane answers 503: frozen, and then it goes on", async () => {
        for (const seconds of [4, 25]) {
            const { runs, of } = await run({
                faults: [fault("noLeader", 10, seconds), fault("controlPlaneError", 10, seconds), fault("die", 11)],
            });
            assert.ok(runs.every(([, , at]) => at >= 10 + seconds));
            assert.equal(runs.length, 1);
            const lost = of("leadership").filter(({ event }) => event.kind === "lost");
            assert.equal(lost.length > 0, seconds > 10, "the session survives a short one; else the loop stops itself");
        }
    });

    it("10: a second server dies during a replacement, and the leader fails over: serial, and the budget survives", async () => {
        for (let second = 10; second < 24; second += 2) {
            const { runs, world } = await run({
                size: 3,
                faults: [fault("die", 8, 1, 0), fault("die", second, 1, 1), fault("killMachine", second + 1, 60)],
            });
            assert.ok(world);
            const { memory } = await world.store.load();
            assert.equal(memory.taken.length, runs.filter(([, how]) => how !== "quota").length);
        }
    });

    it("has one server per slot after a crash before or after any call of a replacement", async function () {
        this.timeout(120_000);
        const quiet = { ...calm, daemons: 2, faults: [fault("die", 8)] };
        let hit = 0;
        for (const engineDies of [true, false]) {
            for (const when of ["before", "after"] as const) {
                for (let call = 1; call <= 40; call++) {
                    const { crashes } = await run({ ...quiet, crashes: [{ call, when, engineDies, downSeconds: 2 }] });
                    hit += crashes;
                }
            }
        }
        assert.equal(hit, 160);
    });

    it("carries out an operator's request through all rules but the one for evidence", async () => {
        const asked = async (faults: readonly Fault[]) => {
            let world: World | undefined;
            const answers: string[] = [];
            const result = await simulate(
                { ...calm, faults },
                {
                    journal: (entry) => {
                        if (entry.kind === "request") answers.push(entry.text);
                    },
                    world: (made) => {
                        world = made;
                        made.timeline.after(40, () => {
                            made.request = { id: "r", slot: "gw-0", who: "ann", why: "study", when: made.now };
                        });
                    },
                },
            );
            assert.deepEqual(result.broken, []);
            return { answers, runs: world?.runs.map(({ slot, startedAt }) => [slot, startedAt - START]) };
        };
        const granted = await asked([]);
        assert.deepEqual(granted.answers, ["gw-0 was replaced"]);
        assert.equal(granted.runs?.length, 1);
        const refused = await asked([fault("hang", 38, 1, 1)]);
        assert.match(refused.answers[0] ?? "", /2 would be out of service, but at most 1 may be; not serving: gw-1/);
        const paused = await asked([fault("switch", 30, 60)]);
        assert.match(paused.answers[0] ?? "", /paused by operator/);
        assert.deepEqual(paused.runs, []);
    });
});
