import assert from "node:assert/strict";
import type { Operation } from "../../replacement/act/engine";
import { emptyMemory } from "../../replacement/core/loopMemory";
import type { Observation } from "../../replacement/core/observation";
import { localPolicy } from "../../replacement/core/policy";
import { type JournalEntry, memoryJournal } from "../../replacement/journal";
import type { Lease } from "../../replacement/lease";
import { type LoopParts, runLoop } from "../../replacement/loop";
import { memoryStore } from "../../replacement/store";
import { gone, lost, NOW, observation, slot } from "./replacementFixtures";

const dead = () => observation({ slots: [slot(gone), slot({ slot: "gw-1" })] });
const whole = () => observation({ slots: [slot({ serverId: "gw-0-b" }), slot({ slot: "gw-1" })] });

/** A loop of so many rounds, with a clock that goes on by a second with every wait. */
function setUp(rounds: number, changes: Partial<LoopParts> & { world?: (round: number) => Observation } = {}) {
    const stop = new AbortController();
    const journal = memoryJournal();
    const store = memoryStore();
    const fresh: boolean[] = [];
    let round = 0;
    let replaced = 0;
    const parts: LoopParts = {
        observe: async (asked) => {
            fresh.push(asked);
            const seen = changes.world?.(round) ?? (replaced > 0 ? whole() : dead());
            return { ...seen, time: NOW + round };
        },
        store,
        engine: {
            pool: async () => ({ slots: [] }),
            previewReplace: async (urn): Promise<Operation[]> => [{ op: "create-replacement", urn }],
            replace: async () => {
                replaced++;
            },
        },
        journal,
        policy: localPolicy,
        clock: {
            now: () => NOW + round,
            sleep: async (seconds, signal) => {
                // The deadline of a replacement, which none of these exceeds.
                if (seconds === localPolicy.stuckSeconds) return aborted(signal);
                if (++round >= rounds) stop.abort();
            },
        },
        signal: stop.signal,
        ...changes,
    };
    const entries = <K extends JournalEntry["kind"]>(kind: K) =>
        journal.entries.filter((entry): entry is Extract<JournalEntry, { kind: K }> => entry.kind === kind);
    return { parts, store, stop, entries, journal, fresh, replaced: () => replaced };
}

function aborted(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

describe("replacement loop", () => {
    it("replaces a dead server, and journals what changed and nothing else", async () => {
        const { parts, store, entries, journal, replaced } = setUp(20);
        await runLoop(parts);
        assert.equal(replaced(), 1);
        assert.deepEqual(
            journal.entries.map(({ kind, time }) => [kind, time - NOW]),
            [
                ["start", 0],
                ["decision", 0],
                ["decision", 1],
                ["action", 1],
                ["decision", 2],
                ["decision", 5],
                ["stop", 20],
            ],
        );
        assert.deepEqual(entries("action")[0]?.report, {
            outcome: { kind: "done" },
            seconds: { preview: 0, replace: 0 },
        });
        const { memory } = await store.load();
        assert.deepEqual(memory.taken, [NOW + 1]);
        assert.equal(memory.inFlight, undefined);
        assert.deepEqual(memory.slots["gw-0"]?.tries, []);
    });

    it("has stored the taken budget before the engine acts", async () => {
        const { parts, store } = setUp(3);
        let taken: readonly number[] = [];
        await runLoop({
            ...parts,
            engine: {
                ...parts.engine,
                replace: async () => {
                    taken = (await store.load()).memory.taken;
                },
            },
        });
        assert.deepEqual(taken, [NOW + 1]);
    });

    it("does not act without a store, and goes on once it is back", async () => {
        const { parts, store, entries, replaced } = setUp(10);
        let fails = 4;
        const load = async () => {
            if (fails-- > 0) throw new Error("Consul is down");
            return store.load();
        };
        await runLoop({ ...parts, store: { ...store, load } });
        assert.equal(replaced(), 1);
        assert.deepEqual(
            entries("error").map(({ where, message }) => [where, message]),
            [["memory", "Consul is down"]],
            "told once",
        );
        assert.equal(entries("decision")[0]?.time, NOW + 4);
    });

    it("does not act when the budget cannot be stored", async () => {
        for (const refuse of [async () => undefined, async () => Promise.reject(new Error("Consul is down"))]) {
            const { parts, store, entries, replaced } = setUp(10);
            const save: typeof store.save = (memory, index) =>
                memory.taken.length > 0 ? refuse() : store.save(memory, index);
            await runLoop({ ...parts, store: { ...store, save } });
            assert.equal(replaced(), 0);
            assert.equal(entries("action")[0]?.report.outcome.kind, "notTaken");
        }
    });

    it("survives exceptions of any part, and tells each once", async () => {
        const fail = (message: string) => () => {
            throw new Error(message);
        };
        const { parts, entries } = setUp(8, { observe: async () => fail("no sight")() });
        await runLoop(parts);
        assert.deepEqual(
            entries("error").map(({ where }) => where),
            ["observe"],
        );

        const other = setUp(8, { onDecision: fail("no disk") });
        await runLoop(other.parts);
        assert.equal(other.replaced(), 1);
        assert.deepEqual(
            other.entries("error").map(({ where, message }) => [where, message]),
            [["snapshot", "no disk"]],
        );

        const logged: JournalEntry[] = [];
        const mute = setUp(8, { journal: { append: fail("disk is full") }, log: (entry) => logged.push(entry) });
        await runLoop(mute.parts);
        assert.equal(mute.replaced(), 1);
        const errors = logged.filter((entry) => entry.kind === "error");
        assert.deepEqual(
            errors.map(({ where, message }) => [where, message]),
            [["journal", "disk is full"]],
        );
    });

    it("tells an error again when it has changed, or was away", async () => {
        const errors = ["a", "a", "b", undefined, "b", "b"];
        let at = 0;
        const { parts, entries } = setUp(6);
        await runLoop({
            ...parts,
            observe: async () => {
                const error = errors[at++];
                if (error) throw new Error(error);
                return whole();
            },
        });
        assert.deepEqual(
            entries("error").map(({ message }) => message),
            ["a", "b", "b"],
        );
    });

    it("looks with fresh eyes at its start, before it acts and after it has acted", async () => {
        const { parts, fresh } = setUp(5);
        await runLoop(parts);
        assert.deepEqual(fresh, [true, false, true, true, false, false]);
    });

    describe("previews before there is enough evidence", () => {
        /** A loop whose deployment's state has a version, and what its engine was asked. */
        function setUpAhead(rounds: number, version: (round: number) => string, changes: Partial<LoopParts> = {}) {
            const set = setUp(rounds, changes);
            const calls: string[] = [];
            let looks = 0;
            const parts: LoopParts = {
                ...set.parts,
                observe: async (fresh) => {
                    const seen = await set.parts.observe(fresh);
                    calls.push(fresh ? "look afresh" : "look");
                    const stateVersion = version(seen.time - NOW);
                    // Two looks are never at the same moment.
                    return { ...seen, time: seen.time + looks++ / 100, deployment: { seen: true, stateVersion } };
                },
                engine: {
                    ...set.parts.engine,
                    previewReplace: async (urn) => {
                        calls.push("preview");
                        return [{ op: "create-replacement", urn }];
                    },
                    replace: async (...given) => {
                        calls.push("replace");
                        await set.parts.engine.replace(...given);
                    },
                },
            };
            return { ...set, parts, calls };
        }

        it("while it waits for the rest, and acts on it", async () => {
            const { parts, calls, replaced, entries } = setUpAhead(2, () => "1");
            await runLoop(parts);
            assert.deepEqual(calls, ["look afresh", "preview", "look", "look afresh", "replace"]);
            assert.equal(replaced(), 1);
            assert.equal(entries("action")[0]?.time, NOW + 1);
        });

        it("and decides while a preview is still being made", async () => {
            const { parts, calls, entries } = setUpAhead(3, () => "1");
            let ready = () => {};
            const { previewReplace } = parts.engine;
            await runLoop({
                ...parts,
                engine: {
                    ...parts.engine,
                    previewReplace: async (...given) => {
                        const operations = await previewReplace(...given);
                        await new Promise<void>((resolve) => {
                            ready = resolve;
                        });
                        return operations;
                    },
                },
                onDecision: ({ actions: [action] }) => {
                    if (!action) return;
                    calls.push("decision");
                    ready();
                },
            });
            assert.deepEqual(calls.slice(0, 5), ["look afresh", "preview", "look", "decision", "look afresh"]);
            assert.equal(entries("action")[0]?.report.outcome.kind, "done");
        });

        it("and looks again as soon as the preview is there, where rounds are far apart", async () => {
            const policy = { ...localPolicy, intervalSeconds: 10 };
            const { parts, entries } = setUpAhead(20, () => "1", { policy });
            const slept: number[] = [];
            const { sleep } = parts.clock;
            await runLoop({
                ...parts,
                clock: {
                    ...parts.clock,
                    sleep: async (seconds, signal) => {
                        slept.push(seconds);
                        if (seconds > 1 && seconds < policy.intervalSeconds) return aborted(signal);
                        return sleep(seconds, signal);
                    },
                },
            });
            assert.deepEqual(slept.slice(0, 2), [1, 9]);
            assert.equal(entries("action")[0]?.report.outcome.kind, "done");
        });

        it("and previews again when the state has changed since", async () => {
            let looks = 0;
            const { parts, calls, entries, store } = setUpAhead(4, () => (looks++ < 2 ? "1" : "2"));
            await runLoop(parts);
            assert.equal(entries("action")[0]?.report.outcome.kind, "outdated");
            assert.deepEqual(calls.slice(0, 8), [
                ...["look afresh", "preview", "look", "look afresh"],
                ...["look afresh", "preview", "look afresh", "replace"],
            ]);
            assert.equal((await store.load()).memory.taken.length, 1);
        });

        it("once, and again with the decision when it failed", async () => {
            let fails = 1;
            const { parts, calls, replaced } = setUpAhead(2, () => "1");
            const { previewReplace } = parts.engine;
            await runLoop({
                ...parts,
                engine: {
                    ...parts.engine,
                    previewReplace: async (...given) => {
                        const operations = await previewReplace(...given);
                        if (fails-- > 0) throw new Error("locked");
                        return operations;
                    },
                },
            });
            assert.deepEqual(calls.slice(0, 5), ["look afresh", "preview", "look", "preview", "look afresh"]);
            assert.equal(replaced(), 1);
        });

        it("not for a server that is long to be waited for", async () => {
            const seen = observation({ slots: [slot(lost), slot({ slot: "gw-1" })] });
            const { parts, calls } = setUpAhead(6, () => "1", { observe: async () => ({ ...seen, time: NOW }) });
            await runLoop(parts);
            assert.ok(!calls.includes("preview"));
        });

        it("and does not use one that is old", async () => {
            let round = 0;
            const { parts, calls, replaced } = setUpAhead(9, () => "1");
            // Seen gone once, then for a long time nothing is seen of it.
            const blind = () => round > 0 && round <= localPolicy.maxGapSeconds;
            await runLoop({
                ...parts,
                observe: async (fresh) => {
                    const seen = await parts.observe(fresh);
                    round = seen.time - NOW;
                    return blind() || calls.length === 3 ? { ...seen, controlPlane: { seen: false } } : seen;
                },
            });
            assert.equal(replaced(), 1);
            assert.equal(calls.filter((call) => call === "preview").length, 2);
        });

        it("and does not act when it was told to stop meanwhile", async () => {
            const { parts, stop, replaced, entries } = setUpAhead(5, () => "1");
            await runLoop({
                ...parts,
                engine: {
                    ...parts.engine,
                    previewReplace: async (urn) => {
                        stop.abort();
                        return [{ op: "create-replacement", urn }];
                    },
                },
            });
            assert.deepEqual([replaced(), entries("action")], [0, []]);
        });
    });

    it("does nothing when the server is back after the preview", async () => {
        const { parts, entries, replaced, store } = setUp(6);
        let back = false;
        await runLoop({
            ...parts,
            observe: async (asked) => (back ? { ...whole(), time: parts.clock.now() } : parts.observe(asked)),
            engine: {
                ...parts.engine,
                previewReplace: async (urn) => {
                    back = true;
                    return [{ op: "create-replacement", urn }];
                },
            },
        });
        assert.equal(replaced(), 0);
        assert.equal(entries("action")[0]?.report.outcome.kind, "outdated");
        assert.deepEqual((await store.load()).memory.taken, []);
    });

    it("finishes a replacement that was begun when it is told to stop, and then ends", async () => {
        const { parts, stop, store, entries } = setUp(100);
        await runLoop({
            ...parts,
            engine: {
                ...parts.engine,
                replace: async (_, signal) => {
                    stop.abort();
                    assert.equal(signal.aborted, false);
                },
            },
        });
        assert.equal(entries("action")[0]?.report.outcome.kind, "done");
        assert.equal((await store.load()).memory.inFlight?.finishedAt, NOW + 1);
        assert.equal(entries("stop").length, 1);
    });

    it("passes the abort signal to a replacement", async () => {
        const { parts, stop, store, entries } = setUp(100);
        const abort = new AbortController();
        await runLoop({
            ...parts,
            abort: abort.signal,
            engine: {
                ...parts.engine,
                replace: (_, signal) =>
                    new Promise((_resolve, reject) => {
                        signal.addEventListener("abort", () => reject(new Error("interrupted")));
                        stop.abort();
                        abort.abort();
                    }),
            },
        });
        assert.deepEqual(entries("action")[0]?.report.outcome, { kind: "failed", reason: "interrupted" });
        assert.equal((await store.load()).memory.slots["gw-0"]?.notBefore, NOW + 1 + 2);
    });

    /** A lease that is lost when its signal is aborted. */
    function leaseOf(lost: AbortController): Lease {
        return {
            session: "mine",
            epoch: 7,
            lost: lost.signal,
            holds: () => !lost.signal.aborted,
            revoke: () => lost.abort(),
        };
    }

    it("writes nothing that is not bound to its lease, and ends when a write is refused", async () => {
        for (const holds of [true, false]) {
            const fenced = memoryStore((session) => holds && session === "mine");
            const lost = new AbortController();
            const { parts, entries, replaced } = setUp(20);
            const fences: unknown[] = [];
            const save: typeof fenced.save = (memory, index, fence) => {
                fences.push(fence?.session);
                return fenced.save(memory, index, fence);
            };
            await runLoop({ ...parts, store: { ...fenced, save }, lease: leaseOf(lost), host: "here" });
            assert.ok(fences.length > 0 && fences.every((session) => session === "mine"));
            assert.equal(replaced(), Number(holds));
            assert.equal(lost.signal.aborted, !holds);
            const { author } = (await fenced.load()).memory;
            assert.deepEqual(author, holds ? { epoch: 7, host: "here" } : undefined);
            assert.equal(entries("stop")[0]?.reason, holds ? "told to stop" : "no longer the leader");
        }
    });

    it("interrupts its engine when the lease is lost, and stores nothing after that", async () => {
        const lost = new AbortController();
        const { parts, store, entries } = setUp(20);
        let saves = 0;
        await runLoop({
            ...parts,
            lease: leaseOf(lost),
            store: {
                ...store,
                save: (...given) => {
                    if (lost.signal.aborted) saves++;
                    return store.save(...given);
                },
            },
            engine: {
                ...parts.engine,
                replace: (_, signal, replacementEpoch) =>
                    new Promise((_resolve, reject) => {
                        assert.deepEqual(replacementEpoch, { slot: "gw-0", epoch: 7 });
                        signal.addEventListener("abort", () => reject(new Error("interrupted")));
                        lost.abort();
                    }),
            },
        });
        assert.equal(entries("action")[0]?.report.outcome.kind, "failed");
        assert.ok(saves <= 1, "the fence refuses what is still tried");
    });

    it("takes over what an operator has written meanwhile", async () => {
        const { parts, store } = setUp(30, {
            world: (round) => (round < 2 ? dead() : whole()),
            policy: { ...localPolicy, paused: true },
        });
        let written = false;
        await runLoop({
            ...parts,
            observe: async (asked) => {
                const seen = await parts.observe(asked);
                if (seen.time >= NOW + 4 && !written) {
                    written = true;
                    const { index } = await store.load();
                    await store.save({ ...emptyMemory, taken: [NOW - 7] }, index);
                }
                return seen;
            },
        });
        const { memory } = await store.load();
        assert.deepEqual(memory.taken, [NOW - 7]);
        assert.ok((memory.observedAt ?? 0) > NOW + 10, "it goes on from there");
    });

    it("does not lose the end of a replacement when the store fails just then", async () => {
        const { parts, store } = setUp(20, { world: () => dead() });
        let down = false;
        await runLoop({
            ...parts,
            engine: {
                ...parts.engine,
                replace: async () => {
                    down = true;
                    throw new Error("Quota exceeded");
                },
            },
            store: {
                ...store,
                save: async (memory, index) => {
                    if (down && parts.clock.now() < NOW + 5) {
                        // What an operator writes just then makes the loop read it all again.
                        const begun = await store.load();
                        await store.save(begun.memory, begun.index);
                        throw new Error("Consul is down");
                    }
                    return store.save(memory, index);
                },
            },
        });
        const { memory } = await store.load();
        assert.equal(memory.hold?.until, NOW + 1 + localPolicy.holdSeconds);
        assert.deepEqual(memory.taken, []);
    });

    it("does not count the time that it took to act for or against the other servers", async () => {
        const seen = () =>
            observation({ slots: [slot(gone), slot({ slot: "gw-1", ...lost }), slot({ slot: "gw-2" })] });
        const { parts, store } = setUp(4, { world: seen });
        await runLoop({
            ...parts,
            engine: { ...parts.engine, previewReplace: async () => [] },
        });
        assert.equal((await store.load()).memory.slots["gw-1"]?.lostSince, NOW + 2);
    });

    it("does not write its memory every second", async () => {
        const { parts, store } = setUp(30, { world: () => whole() });
        let saves = 0;
        await runLoop({
            ...parts,
            store: {
                ...store,
                save: (memory, index) => {
                    saves++;
                    return store.save(memory, index);
                },
            },
        });
        assert.ok(saves >= 5 && saves <= 12, `${saves} in 30 rounds`);
    });
});
