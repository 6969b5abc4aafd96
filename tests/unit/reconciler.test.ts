import * as assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { type Backend, BackendListError, backendKey, choose, parseBackends } from "../../programs/reconciler/backends";
import { emptyMemory, readMemory, writeMemory } from "../../programs/reconciler/lastBackends";
import { type Action, type Plan, plan, type SlotMemory } from "../../programs/reconciler/planChanges";
import { parseSlots, RuntimeAnswerError, type Slot, serves } from "../../programs/reconciler/slots";

const settings = { drainTimeout: 30_000, fullHealth: 3, maxConnections: 100 };
const nothing: SlotMemory = { slots: {}, draining: {} };
const backend = (name: string): Backend => ({ id: name, address: `10.0.0.${name.charCodeAt(0)}`, port: 9190 });
const [a, b, c, d] = ["a", "b", "c", "d"].map(backend) as [Backend, Backend, Backend, Backend];

function slot(number: number, holds?: Backend, changes: Partial<Slot> = {}): Slot {
    return {
        name: `gw${number}`,
        key: holds ? backendKey(holds) : "127.0.0.1:1",
        admin: holds ? "ready" : "maint",
        health: holds ? "up" : "down",
        checks: holds ? 3 : 0,
        sessions: 0,
        limit: holds ? 100 : 0,
        ...changes,
    };
}

const kinds = ({ actions }: Plan) => actions.map((action) => `${action.kind} ${action.slot}`);

describe("the list of backends", () => {
    it("is parsed", () => {
        const list = [a, { id: "gateway-gw-1", address: "2001:db8::1", port: 1 }];
        assert.deepEqual(parseBackends(JSON.stringify(list)), { backends: list, refused: [] });
        assert.deepEqual(parseBackends("[\n]\n"), { backends: [], refused: [] });
    });

    it("writes IPv6 addresses as HAProxy does", () => {
        const {
            backends: [read],
        } = parseBackends('[{"id":"x","address":"2001:DB8:0:0:0:0:0:1","port":80}]');
        assert.equal(read && backendKey(read), "[2001:db8::1]:80");
    });

    it("contains a server only once", () => {
        assert.deepEqual(parseBackends(JSON.stringify([a, { ...a, id: "its-replacement" }, b])).backends, [a, b]);
    });

    const good = { id: "x", address: "10.0.0.1", port: 9190 };
    for (const [what, text] of Object.entries({
        "a null": "[null]",
        "a list in a list": "[[]]",
        "no id": JSON.stringify([{ ...good, id: undefined }]),
        "an id with a line break": JSON.stringify([{ ...good, id: "a\nb" }]),
        "a name as the address": JSON.stringify([{ ...good, address: "gw.example" }]),
        "an address with a command behind it": JSON.stringify([
            { ...good, address: "10.0.0.1 port 1; shutdown frontend clients" },
        ]),
        "an address with a zone": JSON.stringify([{ ...good, address: "fe80::1%eth0" }]),
        "an unspecified address": JSON.stringify([{ ...good, address: "0.0.0.0" }]),
        "an unspecified IPv6 address": JSON.stringify([{ ...good, address: "0::0" }]),
        "an octal address": JSON.stringify([{ ...good, address: "010.0.0.1" }]),
        "port 0": JSON.stringify([{ ...good, port: 0 }]),
        "port 65536": JSON.stringify([{ ...good, port: 65536 }]),
        "port 1.5": JSON.stringify([{ ...good, port: 1.5 }]),
        "a port in quotes": JSON.stringify([{ ...good, port: "80" }]),
        "an unknown field": JSON.stringify([{ ...good, weight: 1 }]),
    })) {
        it(`is used without ${what}`, () => {
            const [entry] = JSON.parse(text) as unknown[];
            const { backends, refused } = parseBackends(JSON.stringify([a, entry, b]));
            assert.deepEqual(backends, [a, b]);
            assert.equal(refused.length, 1);
            assert.match(refused[0] ?? "", /^entry 1: /);
        });
    }

    for (const [what, text] of Object.entries({ nothing: "", "half a list": '[{"id":"x"', "an object": "{}" })) {
        it(`is refused as a whole when it is ${what}`, () =>
            assert.throws(() => parseBackends(text), BackendListError));
    }

    it("is used without servers that are not in the gateways' networks", () => {
        const networks = ["10.0.0.0/24", "2001:db8::/64"];
        const six = { id: "six", address: "2001:db8::7", port: 9190 };
        const strangers = [
            { id: "evil", address: "192.0.2.1", port: 9190 },
            { id: "evil", address: "10.0.1.4", port: 9190 },
            { id: "evil", address: "::ffff:192.0.2.1", port: 9190 },
        ];
        const { backends, refused } = parseBackends(JSON.stringify([a, ...strangers, six]), networks);
        assert.deepEqual(backends, [a, six]);
        assert.equal(refused.length, strangers.length);
        assert.match(refused[0] ?? "", /evil has the address 192\.0\.2\.1, which is not in .*10\.0\.0\.0\/24/);
    });

    it("refuses an empty list when it had backends", () => {
        assert.deepEqual(choose([], [a]), { backends: [a], refused: true });
        assert.deepEqual(choose([], []), { backends: [], refused: false });
        assert.deepEqual(choose([b], [a]), { backends: [b], refused: false });
        assert.deepEqual(choose(undefined, [a]), { backends: [a], refused: false });
    });
});

describe("HAProxy's answers", () => {
    const state = [
        "1",
        "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight " +
            "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state " +
            "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port " +
            "srv_check_addr srv_agent_addr srv_agent_port",
        "4 gateways 1 gw1 10.0.0.1 1 4 1 1 1 15 3 3 6 0 0 0 - 9190 - 0 0 - - 0",
        "4 gateways 2 gw2 2001:db8::1 2 12 1 1 1 15 3 3 6 0 0 0 - 9190 - 0 0 - - 0",
        "4 gateways 3 gw3 127.0.0.1 0 5 1 1 2 1 0 0 14 0 0 0 - 1 - 0 0 - - 0",
        "4 gateways 4 gw4 10.0.0.4 3 4 1 1 2 1 0 3 14 0 0 0 - 9190 - 0 0 - - 0",
    ].join("\n");
    const statistics = [
        "# pxname,svname,qcur,qmax,scur,smax,slim,stot,",
        "gateways,gw1,1,0,2,0,100,7,",
        "gateways,gw2,0,0,0,0,,7,",
        "gateways,gw3,0,0,0,0,100,0,",
        "gateways,gw4,0,0,1,0,100,0,",
    ].join("\n");

    it("are parsed", () => {
        assert.deepEqual(parseSlots(state, statistics), [
            {
                name: "gw1",
                key: "10.0.0.1:9190",
                admin: "ready",
                health: "starting",
                checks: 3,
                sessions: 3,
                limit: 100,
            },
            { name: "gw2", key: "[2001:db8::1]:9190", admin: "drain", health: "up", checks: 3, sessions: 0, limit: 0 },
            { name: "gw3", key: "127.0.0.1:1", admin: "maint", health: "down", checks: 0, sessions: 0, limit: 100 },
            {
                name: "gw4",
                key: "10.0.0.4:9190",
                admin: "ready",
                health: "stopping",
                checks: 3,
                sessions: 1,
                limit: 100,
            },
        ]);
    });

    it("are refused if they have another form", () => {
        for (const [one, other] of [
            ["No such backend.", statistics],
            [state.replace("1\n", "2\n"), statistics],
            [state, "Unknown command."],
            [state, statistics.replace("gw3", "gw9")],
            [state.replace("gw1 10.0.0.1 1", "gw1 10.0.0.1 9"), statistics],
        ] as const) {
            assert.throws(() => parseSlots(one, other), RuntimeAnswerError);
        }
    });
});

describe("the plan", () => {
    it("is empty if HAProxy matches the list", () => {
        const result = plan([slot(1, a), slot(2, b), slot(3)], [b, a], nothing, 0, settings);
        assert.deepEqual(result.actions, []);
        assert.equal(result.pending, false);
        assert.deepEqual(result.memory.slots, { gw1: backendKey(a), gw2: backendKey(b) });
    });

    it("puts a new backend into the first free slot", () => {
        const result = plan([slot(1, a), slot(2), slot(3)], [a, b], nothing, 0, settings);
        assert.deepEqual(result.actions, [{ kind: "admit", slot: "gw2", backend: b, trusted: false }]);
    });

    it("trusts a server's health after a restart of HAProxy only if it was known before", () => {
        const result = plan([slot(1), slot(2)], [a, b], nothing, 0, settings, new Set([backendKey(b)]));
        assert.deepEqual(
            result.actions.map((action) => action.kind === "admit" && [action.slot, action.trusted]),
            [
                ["gw1", false],
                ["gw2", true],
            ],
        );
    });

    it("puts a backend back into the slot that it had, from the memory or from the slot's address", () => {
        const memory = { slots: { gw3: backendKey(a) }, draining: {} };
        assert.deepEqual(kinds(plan([slot(1), slot(2), slot(3)], [b, a], memory, 0, settings)), [
            "admit gw3",
            "admit gw1",
        ]);
        const left = slot(2, a, { admin: "maint" });
        assert.deepEqual(kinds(plan([slot(1), left, slot(3)], [b, a], nothing, 0, settings)), [
            "admit gw2",
            "admit gw1",
        ]);
    });

    it("drains a removed backend, and frees its slot when its connections have ended", () => {
        const first = plan([slot(1, a), slot(2, b)], [b], nothing, 1_000, settings);
        assert.deepEqual(kinds(first), ["drain gw1"]);
        assert.deepEqual(first.memory.draining, { gw1: 1_000 });
        assert.equal(first.pending, true);
        const busy = slot(1, a, { admin: "drain", health: "stopping", sessions: 1, limit: 0 });
        const second = plan([busy, slot(2, b)], [b], first.memory, 20_000, settings);
        assert.deepEqual(kinds(second), []);
        assert.deepEqual(second.memory.draining, { gw1: 1_000 });
        assert.equal(second.pending, true);
        const idle = { ...busy, sessions: 0 };
        assert.deepEqual(kinds(plan([idle, slot(2, b)], [b], second.memory, 21_000, settings)), ["close gw1"]);
    });

    it("ends remaining connections after the longest drain, counted from its start, even across restarts", () => {
        const busy = [slot(1, a, { admin: "drain", sessions: 1 }), slot(2, b)];
        const memory = { slots: {}, draining: { gw1: 1_000 } };
        assert.deepEqual(kinds(plan(busy, [b], memory, 30_999, settings)), []);
        assert.deepEqual(kinds(plan(busy, [b], memory, 31_000, settings)), ["close gw1"]);
        // Without a memory, the drain starts now. A clock that was set back does not prolong it forever.
        assert.deepEqual(plan(busy, [b], nothing, 5_000, settings).memory.draining, { gw1: 5_000 });
        assert.deepEqual(plan(busy, [b], memory, 500, settings).memory.draining, { gw1: 500 });
    });

    it("keeps backends that left while no other backend serves", () => {
        for (const holder of [
            slot(2),
            slot(2, b, { health: "down", checks: 0, limit: 0 }),
            slot(2, b, { health: "stopping", limit: 0 }),
            slot(2, b, { admin: "drain" }),
        ]) {
            const result = plan([slot(1, a), holder], [b], nothing, 0, settings);
            assert.ok(!kinds(result).includes("drain gw1"), JSON.stringify(holder));
            assert.equal(result.pending, true);
        }
        const dead = slot(1, a, { health: "down", checks: 0, limit: 0 });
        assert.ok(
            kinds(plan([dead, slot(2)], [b], nothing, 0, settings)).includes("drain gw1"),
            "but not for the dead",
        );
        const starting = slot(2, b, { health: "starting", limit: 0 });
        assert.deepEqual(kinds(plan([slot(1, a), starting], [b], nothing, 0, settings)), ["drain gw1"]);
    });

    it("watches one that left and is well before it frees the slot, unless the slot is needed", () => {
        const idle = slot(1, a, { admin: "drain" });
        const memory = { slots: {}, draining: { gw1: 1_000 } };
        const planAt = (seconds: number, slots = [idle, slot(2, b)]) =>
            kinds(plan(slots, [b, ...(slots.length > 2 ? [c] : [])], memory, 1_000 + seconds * 1_000, settings));
        assert.deepEqual(planAt(14), []);
        assert.deepEqual(planAt(15), ["close gw1"]);
        assert.deepEqual(planAt(1, [idle, slot(2, b), slot(3, d)]), ["close gw1", "drain gw3"]);
    });

    it("keeps those that left when they are well and outnumber those that stay", () => {
        const pool = [slot(1, a), slot(2, b), slot(3, c), slot(4, d), slot(5)];
        // One after the other, as a registry finds out about them.
        const one = plan(pool, [b, c, d], nothing, 0, settings);
        assert.deepEqual(kinds(one), ["drain gw1"]);
        const without = [slot(1, a, { admin: "drain" }), ...pool.slice(1)];
        const two = plan(without, [c, d], one.memory, 1_000, settings);
        assert.deepEqual(kinds(two), ["drain gw2"]);
        const half = [without[0] as Slot, slot(2, b, { admin: "drain" }), ...pool.slice(2)];
        const three = plan(half, [d], two.memory, 2_000, settings);
        assert.deepEqual(kinds(three), ["resume gw1", "resume gw2"]);
        assert.deepEqual(three.contradicted, [a, b, c].map(backendKey));
        const settled = plan(pool, [d], three.memory, 3_000, settings);
        assert.deepEqual([kinds(settled), settled.pending], [[], false]);
        const back = plan(pool, [c, d], settled.memory, 4_000, settings);
        assert.deepEqual(kinds(back), ["drain gw1", "drain gw2"], "half of them are believed again");
    });

    it("does not keep those that left when they fail its checks, drain by themselves, or their slots are needed", () => {
        for (const changes of [
            { health: "down", checks: 0, limit: 0 },
            { health: "stopping", limit: 0 },
            { checks: 2 },
        ] as const) {
            const pool = [slot(1, a, changes), slot(2, b, changes), slot(3, c, changes), slot(4, d), slot(5)];
            const result = plan(pool, [d], nothing, 0, settings);
            assert.deepEqual(result.contradicted, [], JSON.stringify(changes));
            assert.equal(result.actions.filter(({ kind }) => kind === "drain").length, 3);
        }
        const full = [slot(1, a), slot(2, b), slot(3, c)];
        assert.deepEqual(plan(full, [c, d], nothing, 0, settings).contradicted, []);
    });

    it("frees only as many slots of backends that left as it needs", () => {
        const slots = [slot(1, a), slot(2, b)];
        assert.deepEqual(kinds(plan(slots, [c, d], nothing, 0, settings)), ["drain gw1"]);
        const half = [slot(1, a, { admin: "drain", sessions: 1 }), slot(2, b)];
        assert.deepEqual(kinds(plan(half, [c, d], nothing, 0, settings)), []);
    });

    it("takes back a backend that returns while it drains, once its health is known", () => {
        const drained = (changes: Partial<Slot>) =>
            plan([slot(1, a, { admin: "drain", sessions: 1, ...changes })], [a], nothing, 0, settings);
        assert.deepEqual(kinds(drained({})), ["resume gw1"]);
        assert.deepEqual(kinds(drained({ health: "down", checks: 0, limit: 0 })), ["resume gw1", "cut gw1"]);
        const unknown = drained({ checks: 2 });
        assert.deepEqual(kinds(unknown), [], "up by assumption: putting it in was interrupted, or a check just failed");
        assert.equal(unknown.pending, true);
    });

    it("ends the connections of a backend that is down, once, whether it stays or leaves", () => {
        const down = { health: "down", checks: 0, limit: 0, sessions: 2 } as const;
        assert.deepEqual(kinds(plan([slot(1, a, down), slot(2, b)], [a, b], nothing, 0, settings)), ["cut gw1"]);
        const patient = { ...settings, keepsSessions: true };
        assert.deepEqual(kinds(plan([slot(1, a, down), slot(2, b)], [a, b], nothing, 0, patient)), []);
        assert.deepEqual(kinds(plan([slot(1, a, down), slot(2, b)], [b], nothing, 0, settings)), [
            "drain gw1",
            "cut gw1",
        ]);
        const late = { slots: {}, draining: { gw1: -settings.drainTimeout } };
        const closing = [slot(1, a, { ...down, admin: "drain" }), slot(2, b)];
        assert.deepEqual(kinds(plan(closing, [b], late, 0, settings)), ["close gw1"]);
        const idle = slot(1, a, { ...down, sessions: 0 });
        assert.deepEqual(kinds(plan([idle, slot(2, b)], [a, b], nothing, 0, settings)), []);
    });

    it("keeps the slot of a backend that is down, even under a new name", () => {
        const down = slot(1, a, { health: "down", checks: 0, limit: 0 });
        assert.deepEqual(kinds(plan([down, slot(2, b)], [{ ...a, id: "new" }, b], nothing, 0, settings)), []);
    });

    it("leaves out backends for which there is no slot, and prefers those that have one", () => {
        const result = plan([slot(1, b)], [a, b], nothing, 0, settings);
        assert.deepEqual(result.unplaced, [a]);
        assert.deepEqual(kinds(result), []);
    });

    it("limits connections only of servers that are fully up", () => {
        const starting = slot(1, a, { health: "starting", limit: 100 });
        const up = slot(2, b, { limit: 0 });
        assert.deepEqual(plan([starting, up], [a, b], nothing, 0, settings).actions, [
            { kind: "limit", slot: "gw1", connections: 0 },
            { kind: "limit", slot: "gw2", connections: 100 },
        ]);
    });

    it("leaves a backend only one slot if others have put it into two", () => {
        const slots = [slot(1, a, { admin: "drain", sessions: 1 }), slot(2, a), slot(3, a)];
        assert.deepEqual(kinds(plan(slots, [a], nothing, 0, settings)), ["drain gw3"]);
    });

    describe("in a model of HAProxy, from any state and with any lists", () => {
        const names = ["a", "b", "c", "d", "e", "f"];
        const anySlot = fc.record({
            holds: fc.option(fc.constantFrom(...names), { nil: undefined }),
            admin: fc.constantFrom("ready", "drain", "maint" as const),
            health: fc.constantFrom("down", "starting", "up", "stopping" as const),
            checks: fc.integer({ min: 0, max: 3 }),
            sessions: fc.integer({ min: 0, max: 2 }),
            limit: fc.constantFrom(0, 100),
        });
        const anySlots = fc
            .array(anySlot, { minLength: 1, maxLength: 9 })
            .map((list) =>
                list.map(({ holds, ...rest }, index) => slot(index + 1, holds ? backend(holds) : undefined, rest)),
            );
        const anyList = fc.uniqueArray(fc.constantFrom(...names)).map((list) => list.map(backend));

        /** HAProxy after the actions and its checks, which the living pass. */
        function model(
            slots: readonly Slot[],
            actions: readonly Action[],
            now: number,
            alive: (key: string) => boolean = () => true,
        ): Slot[] {
            let result = [...slots];
            const change = (name: string, changes: Partial<Slot>) => {
                result = result.map((each) => (each.name === name ? { ...each, ...changes } : each));
            };
            for (const action of actions) {
                if (action.kind === "admit") {
                    const key = backendKey(action.backend);
                    change(action.slot, { key, admin: "ready", health: "down", checks: 0, sessions: 0, limit: 0 });
                } else if (action.kind === "resume") change(action.slot, { admin: "ready" });
                else if (action.kind === "drain") change(action.slot, { admin: "drain" });
                else if (action.kind === "close") change(action.slot, { admin: "maint", sessions: 0, health: "down" });
                else if (action.kind === "cut") change(action.slot, { sessions: 0 });
                else change(action.slot, { limit: action.connections });
            }
            return result.map((each) => {
                if (each.admin === "maint" || now === 0) return each;
                return alive(each.key)
                    ? { ...each, health: "up", checks: settings.fullHealth }
                    : { ...each, health: "down", checks: 0 };
            });
        }

        it("no step removes the last backend that serves unless it must, and none touches a free slot except to fill it", () => {
            fc.assert(
                fc.property(anySlots, anyList, (slots, wanted) => {
                    const { actions } = plan(slots, wanted, nothing, 0, settings);
                    const stays = new Set(wanted.map(backendKey));
                    const next = model(slots, actions, 0);
                    // If only one serves and no slot is free, there is no other way.
                    const forced = slots.filter(serves).length === 1 && slots.every(({ admin }) => admin !== "maint");
                    if (!forced && slots.some(serves)) assert.ok(next.some(serves), "somebody serves");
                    for (const action of actions) {
                        const before = slots.find(({ name }) => name === action.slot);
                        assert.ok(before);
                        assert.equal(before.admin === "maint", action.kind === "admit");
                        if (action.kind === "close") assert.equal(before.sessions, 0);
                        const sole =
                            slots.filter(({ key, admin }) => key === before.key && admin !== "maint").length === 1;
                        if (stays.has(before.key) && sole) assert.ok(!["drain", "close"].includes(action.kind));
                    }
                }),
                { numRuns: 2_000 },
            );
        });

        it("reaches the list, stays there, and moves no backend to another slot", () => {
            fc.assert(
                fc.property(anySlots, fc.array(anyList, { minLength: 1, maxLength: 4 }), (start, lists) => {
                    let slots = start;
                    let memory = nothing;
                    let now = 0;
                    for (const wanted of lists.filter((list) => list.length > 0)) {
                        const homes = slots.filter(({ admin }) => admin !== "maint");
                        let last: Plan | undefined;
                        for (let round = 0; round < 12; round++) {
                            now += 20_000;
                            last = plan(slots, wanted, memory, now, settings);
                            memory = last.memory;
                            // What leaves ends, if later than the registry says so.
                            const isListed = (key: string) =>
                                round < 2 || wanted.some((each) => backendKey(each) === key);
                            slots = model(slots, last.actions, now, isListed);
                        }
                        assert.deepEqual(last?.actions, [], "nothing is left to do");
                        assert.equal(last?.pending, false);
                        const serving = slots.filter(serves).map(({ key }) => key);
                        assert.equal(new Set(serving).size, serving.length, "nobody is there twice");
                        assert.equal(
                            serving.length,
                            Math.min(wanted.length, slots.length),
                            "all for whom there is room",
                        );
                        const keys = wanted.map(backendKey);
                        assert.ok(
                            serving.every((key) => keys.includes(key)),
                            "and nobody else",
                        );
                        assert.equal(last?.unplaced.length, wanted.length - serving.length);
                        for (const { key, name } of slots.filter(serves)) {
                            const had = homes.filter((each) => each.key === key).map((each) => each.name);
                            if (had.length > 0) assert.ok(had.includes(name), "who was there is where it was");
                        }
                    }
                }),
                { numRuns: 1_000 },
            );
        });
    });
});

describe("the reconciler's memory", () => {
    let directory = "";
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "gw-"));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    it("reads back as it was written", () => {
        const path = join(directory, "lib/memory.json");
        assert.deepEqual(readMemory(path), emptyMemory);
        const memory = { backends: [a, c], slots: { gw2: backendKey(a) }, draining: { gw3: 17 } };
        writeMemory(path, memory);
        assert.deepEqual(readMemory(path), memory);
    });

    it("is not used if it is damaged", () => {
        const path = join(directory, "memory.json");
        for (const text of [
            "",
            "{}",
            '{"backends":[],"slots":[],"draining":{}}',
            '{"backends":[1],"slots":{},"draining":{}}',
        ]) {
            writeFileSync(path, text);
            assert.throws(() => readMemory(path));
        }
    });
});
