import assert from "node:assert/strict";
import type { StackLock } from "../../engine/stateLocks";
import { emptyMemory, type Memory } from "../../replacement/core/loopMemory";
import { defaultPolicy } from "../../replacement/core/policy";
import { type FoundServer, type Leftovers, planRecovery } from "../../replacement/core/recovery";

const NOW = 1_000_000;
const policy = defaultPolicy;
const wanted = ["gw-0", "gw-1"].map((name) => ({ name, urn: `urn:${name}`, serverId: `${name}-a` }));
const server = (id: string, slot = "gw-0", epoch = 1, createdAt = NOW): FoundServer => ({ id, slot, epoch, createdAt });
const own = [server("gw-0-a"), server("gw-1-a", "gw-1")];

function plan(found: Partial<Leftovers>, memory: Partial<Memory> = {}, epoch = 5, time = NOW) {
    const all: Leftovers = { engines: [], locks: [], pending: [], wanted, servers: own, parts: [], ...found };
    return planRecovery(all, { ...emptyMemory, ...memory }, { time, epoch }, policy);
}

/** Plans twice, so far apart. */
function later(found: Partial<Leftovers>, seconds: number, memory: Partial<Memory> = {}) {
    const { sightings } = plan(found, memory);
    return plan(found, { ...memory, sightings }, 5, NOW + seconds);
}

describe("recovery", () => {
    it("has nothing to do where nothing is left", () => {
        assert.deepEqual(plan({}), { steps: [], sightings: {} });
    });

    it("first ends an engine that still runs, and nothing else", () => {
        const found = { engines: [{ pid: 7 }], pending: [{ urn: "urn:gw-0", slot: "gw-0" }] };
        const { steps, unsettled } = plan(found);
        assert.deepEqual(
            steps.map(({ kind }) => kind),
            ["killEngine"],
        );
        assert.match(unsettled ?? "", /7/);
    });

    const lock = (owner: StackLock["owner"], host = "consul-1"): StackLock => ({ id: "l", host, pid: 9, owner });

    it("removes a dead owner's lock, and waits for a living one's", () => {
        assert.deepEqual(
            plan({ locks: [lock("dead")] }).steps.map(({ kind }) => kind),
            ["removeLock"],
        );
        const alive = later({ locks: [lock("alive")] }, 100_000);
        assert.deepEqual(alive.steps, []);
        assert.match(alive.unsettled ?? "", /process 9 on consul-1 holds the stack's lock/);
    });

    it("removes a lock of another machine only if it is an earlier leader's, and seen for long enough", () => {
        const found = { locks: [lock("elsewhere")] };
        const author = { host: "consul-1", epoch: 4 };
        assert.deepEqual(later(found, policy.stuckSeconds + 59, { author }).steps, []);
        assert.deepEqual(
            later(found, policy.stuckSeconds + 60, { author }).steps.map(({ kind }) => kind),
            ["removeLock"],
        );
        for (const other of [undefined, { host: "laptop", epoch: 4 }, { host: "consul-1", epoch: 5 }]) {
            const { steps, unsettled } = later(found, 100_000, other ? { author: other } : {});
            assert.deepEqual(steps, [], JSON.stringify(other));
            assert.match(unsettled ?? "", /pulumi cancel/);
        }
    });

    it("touches nothing else as long as the stack is locked", () => {
        const found = {
            locks: [lock("alive")],
            pending: [{ urn: "urn:gw-0", slot: "gw-0" }],
            servers: [...own, server("x")],
        };
        assert.deepEqual(later(found, 1000).steps, []);
    });

    const pending = [{ urn: "urn:gw-0", slot: "gw-0" }];

    it("adopts a server whose creation was cut off, the latest of several", () => {
        const servers = [
            own[1] as FoundServer,
            server("old", "gw-0", 3),
            server("new", "gw-0", 4),
            server("n2", "gw-1", 9),
        ];
        const { steps, unsettled } = plan({ pending, servers });
        assert.deepEqual(
            steps.map((step) => step.kind === "adopt" && [step.slot, step.urn, step.serverId]),
            [["gw-0", "urn:gw-0", "new"]],
        );
        assert.match(unsettled ?? "", /gw-0/);
    });

    it("forgets a creation only when the server is absent twice", () => {
        assert.deepEqual(plan({ pending }).steps, []);
        assert.deepEqual(later({ pending }, 59).steps, []);
        assert.deepEqual(
            later({ pending }, 60).steps.map(({ kind }) => kind),
            ["clearPending"],
        );
        // Where the control plane cannot hold two servers for a slot, nothing is listed, and it is made anew.
        assert.deepEqual(
            planRecovery(
                { engines: [], locks: [], pending, wanted, parts: [] },
                { ...emptyMemory, sightings: { "pending urn:gw-0": NOW - 60 } },
                { time: NOW, epoch: 5 },
                policy,
            ).steps.map(({ kind }) => kind),
            ["clearPending"],
        );
    });

    it("does not wait for what is not a slot", () => {
        assert.deepEqual(plan({ pending: [{ urn: "urn:port" }] }), { steps: [], sightings: {} });
    });

    it("deletes a second server of a slot at its second sighting, never the deployment's, nor a later leader's", () => {
        const servers = [...own, server("double", "gw-0", 4), server("later", "gw-0", 6)];
        assert.deepEqual(plan({ servers }).steps, []);
        assert.deepEqual(later({ servers }, 59).steps, []);
        const { steps, unsettled } = later({ servers }, 60);
        assert.deepEqual(
            steps.map((step) => step.kind === "deleteServer" && step.server.id),
            ["double"],
        );
        assert.equal(unsettled, undefined);
    });

    it("keeps a surplus server while its own replacement of that slot is under way", () => {
        const inFlight = { slot: "gw-0", evidence: "hard", serverId: "gw-0-a", startedAt: NOW, epoch: 5 } as const;
        assert.deepEqual(later({ servers: [...own, server("new", "gw-0", 5)] }, 60, { inFlight }).steps, []);
    });

    it("adopts the latest server of a slot whose own is gone, and deletes no other before that", () => {
        const servers = [own[1] as FoundServer, server("b", "gw-0", 3), server("c", "gw-0", 4)];
        const first = plan({ servers });
        assert.deepEqual(first.steps, []);
        assert.match(first.unsettled ?? "", /c$/);
        const { steps } = later({ servers }, 60);
        assert.deepEqual(
            steps.map((step) => [step.kind, step.kind === "adopt" && step.serverId]),
            [["adopt", "c"]],
        );
    });

    it("deletes a server of a slot that is not wanted, and parts without a server, after two sightings 15 min apart", () => {
        const found = {
            servers: [...own, server("x", "gw-9")],
            parts: [
                { kind: "port", id: "p" },
                { kind: "volume", id: "v" },
            ] as const,
        };
        assert.deepEqual(later(found, 899).steps, []);
        assert.deepEqual(
            later(found, 900).steps.map(({ kind }) => kind),
            ["deleteServer", "deletePart", "deletePart"],
        );
    });

    it("begins anew with a leftover that was away between", () => {
        const found = { parts: [{ kind: "port", id: "p" }] as const };
        const { sightings } = plan(found);
        const without = plan({}, { sightings }, 5, NOW + 500);
        assert.deepEqual(without.sightings, {});
        assert.deepEqual(plan(found, { sightings: without.sightings }, 5, NOW + 900).steps, []);
    });
});
