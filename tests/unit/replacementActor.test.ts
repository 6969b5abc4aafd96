import assert from "node:assert/strict";
import type { Stack } from "@pulumi/pulumi/automation";
import {
    classifyEngineError,
    examineOperations,
    type ReplacementContext,
    replaceServer,
} from "../../replacement/act/actor";
import { automationEngine, type Engine, machineSlots, type Operation, slotsIn } from "../../replacement/act/engine";
import { FencedOff } from "../../replacement/store";
import { action } from "./replacementFixtures";

const urn = action.urn;
const replacement: Operation[] = [
    { op: "same", urn: "stack" },
    { op: "read", urn: "data" },
    { op: "refresh", urn: "gw-1" },
    { op: "delete-replaced", urn },
    { op: "replace", urn },
    { op: "create-replacement", urn },
];

interface World {
    readonly preview?: Operation[] | Error;
    readonly previewed?: readonly Operation[];
    readonly replace?: Error;
    readonly confirm?: boolean | Error;
    readonly take?: boolean | Error;
    readonly stopAt?: "preview" | "confirm";
    readonly leads?: boolean;
    readonly late?: boolean;
}

/** Acts, and tells the outcome and the order of what was called. */
async function act(world: World) {
    const calls: string[] = [];
    let time = 100;
    const stop = new AbortController();
    const answer = <T>(name: string, value: T | Error): Promise<T> => {
        calls.push(name);
        time += 2;
        if (world.stopAt === name) stop.abort();
        return value instanceof Error ? Promise.reject(value) : Promise.resolve(value);
    };
    const engine: Engine = {
        pool: async () => ({ slots: [] }),
        previewReplace: (given) => answer("preview", given === urn ? (world.preview ?? replacement) : new Error("urn")),
        replace: (given) =>
            answer("replace", given === urn ? (world.replace ?? undefined) : new Error("urn")) as Promise<void>,
    };
    const means: ReplacementContext = {
        confirm: () => answer("confirm", world.confirm ?? true),
        takeBudget: () => answer("take", world.take ?? true),
        now: () => time,
        stop: stop.signal,
        abort: new AbortController().signal,
        leads: () => world.leads ?? true,
        ...(world.previewed ? { previewed: Promise.resolve(world.previewed) } : {}),
        late: () => (world.late ? AbortSignal.abort() : new AbortController().signal),
    };
    return { ...(await replaceServer(action, engine, means)), calls };
}

describe("replacement actor", () => {
    it("previews, looks again, takes the budget, and only then acts", async () => {
        assert.deepEqual(await act({}), {
            outcome: { kind: "done" },
            seconds: { preview: 6, replace: 2 },
            calls: ["preview", "confirm", "take", "replace"],
        });
    });

    it("does not preview again what was previewed before, and examines it all the same", async () => {
        const { outcome, calls } = await act({ previewed: replacement });
        assert.deepEqual([outcome.kind, calls], ["done", ["confirm", "take", "replace"]]);
        const refused = await act({ previewed: [...replacement, { op: "update", urn: "another" }] });
        assert.deepEqual([refused.outcome.kind, refused.calls], ["refused", []]);
        const stopped = await act({ previewed: replacement, stopAt: "confirm" });
        assert.deepEqual([stopped.outcome.kind, stopped.calls], ["stopped", ["confirm"]]);
    });

    it("refuses when more would change, and says what", async () => {
        const other = { op: "update", urn: "urn:pulumi:local::gateway::gateway:index:Role::gw-1" } as const;
        assert.deepEqual(await act({ preview: [...replacement, other] }), {
            outcome: {
                kind: "refused",
                reason: "the preview changes more than gw-0: update gateway:index:Role::gw-1",
                others: [other],
            },
            seconds: { preview: 2 },
            calls: ["preview"],
        });
    });

    it("accepts exactly a replacement of the one slot", () => {
        const cases: [Operation[], boolean][] = [
            [replacement, true],
            [[{ op: "create-replacement", urn }], true],
            [[...replacement, { op: "remove-pending-replace", urn }], true],
            [[], false],
            [[{ op: "same", urn }], false],
            [[{ op: "update", urn }], false],
            [[{ op: "create", urn }], false],
            [[...replacement, { op: "delete", urn }], false],
            [
                [
                    { op: "replace", urn },
                    { op: "delete-replaced", urn },
                ],
                false,
            ],
            ...(
                ["create", "update", "delete", "replace", "create-replacement", "delete-replaced", "import"] as const
            ).map((op): [Operation[], boolean] => [[...replacement, { op, urn: "other" }], false]),
        ];
        for (const [operations, accepted] of cases) {
            assert.equal(examineOperations(operations, urn).accepted, accepted, JSON.stringify(operations.slice(-2)));
        }
    });

    it("takes what waits for the new server for a part of the slot, and nothing else beside it", () => {
        const urnOf = (types: string, name: string) =>
            `urn:pulumi:jetstream::gateway::gateway:index:GatewayPool$${types}::${name}`;
        const server = urnOf("openstack:compute/instance:Instance", "openstack-pool-0");
        const gate = (name: string) => urnOf("pulumi-nodejs:dynamic/gateway:OpenstackGate", name);
        const servers: Operation[] = [
            { op: "replace", urn: server },
            { op: "create-replacement", urn: server },
        ];
        const accepted = (more: Operation) => examineOperations([...servers, more], server).accepted;
        assert.equal(accepted({ op: "update", urn: gate("openstack-pool-0-ready") }), true);
        assert.equal(accepted({ op: "delete", urn: gate("openstack-pool-0-ready") }), false);
        assert.equal(accepted({ op: "update", urn: gate("openstack-pool-1-ready") }), false);
        assert.equal(
            accepted({ op: "update", urn: urnOf("openstack:compute/instance:Instance", "openstack-pool-0-ready") }),
            false,
        );
    });

    it("refuses when the preview does not replace the slot, or fails", async () => {
        const idle = await act({ preview: [{ op: "same", urn }] });
        assert.deepEqual(idle.outcome, { kind: "refused", reason: "the preview does not replace gw-0", others: [] });
        const failing = await act({ preview: new Error("boom") });
        assert.deepEqual(failing.outcome, { kind: "refused", reason: "the preview failed: boom", others: [] });
        assert.deepEqual(failing.calls, ["preview"]);
    });

    it("does nothing when the world has changed, or the budget is not to be had", async () => {
        assert.deepEqual(await act({ confirm: false }), {
            outcome: { kind: "outdated", reason: "no longer needed after the preview" },
            seconds: { preview: 4 },
            calls: ["preview", "confirm"],
        });
        const untaken = await act({ take: false });
        assert.deepEqual(untaken.outcome, { kind: "notTaken", reason: "somebody else changed the budget" });
        assert.deepEqual(untaken.calls, ["preview", "confirm", "take"]);
        const failing = await act({ take: new Error("Consul is down") });
        assert.deepEqual(failing.outcome, { kind: "notTaken", reason: "Consul is down" });
        assert.deepEqual((await act({ confirm: new Error("blind") })).calls, ["preview", "confirm"]);
    });

    it("does nothing when it is not the leader any more, though the budget is taken", async () => {
        assert.deepEqual(await act({ leads: false }), {
            outcome: { kind: "deposed", reason: "no longer the leader" },
            seconds: { preview: 6 },
            calls: ["preview", "confirm", "take"],
        });
        const { outcome, calls } = await act({ take: new FencedOff("the lock has another holder") });
        assert.deepEqual(outcome, { kind: "deposed", reason: "the lock has another holder" });
        assert.deepEqual(calls, ["preview", "confirm", "take"]);
    });

    it("calls a replacement stuck that it had to interrupt, unless something else explains its end", async () => {
        const ended = await act({ late: true, replace: new Error("interrupted") });
        assert.deepEqual(ended.outcome, { kind: "stuck", reason: "interrupted: interrupted" });
        const full = await act({ late: true, replace: new Error("Quota exceeded") });
        assert.equal(full.outcome.kind, "quota");
        assert.equal((await act({ late: true })).outcome.kind, "done");
    });

    it("begins nothing once it is told to stop", async () => {
        const stopped = await act({ stopAt: "confirm" });
        assert.deepEqual(stopped.outcome, { kind: "stopped", reason: "told to stop after the preview" });
        assert.deepEqual(stopped.calls, ["preview", "confirm"]);
        const during = await act({ stopAt: "preview", preview: new Error("SIGINT") });
        assert.equal(during.outcome.kind, "stopped");
    });

    it("tells a locked stack, a used-up quota and an invalid configuration from other failures", async () => {
        const locked = Object.assign(new Error("code: 255\n stderr: whatever"), { name: "ConcurrentUpdateError" });
        const kinds: [Error, string][] = [
            [locked, "locked"],
            [new Error("error: the stack is currently locked by 1 lock(s)"), "locked"],
            [new Error("error: Quota exceeded for instances: Requested 1, but already used 10"), "quota"],
            [new Error("error: No valid host was found. There are not enough hosts available."), "quota"],
            [new Error("error: ENOSPC: no space left on device"), "quota"],
            [new Error("error: Expected HTTP response code [202], got 400: Bad request: Invalid imageRef"), "invalid"],
            [new Error("error: connection reset"), "failed"],
        ];
        for (const [error, kind] of kinds) {
            assert.equal((await act({ replace: error })).outcome.kind, kind, error.message);
            assert.equal(classifyEngineError(error).kind, kind);
        }
        assert.equal((await act({ preview: locked })).outcome.kind, "locked");
    });

    it("keeps of an error what tells, and not more than 500 characters", () => {
        const output = `code: 255\nstdout: Updating (local):\n  ~ something\nerror: update failed\n  error: boot: no quorum\n`;
        assert.equal(classifyEngineError(new Error(output)).reason, "error: boot: no quorum");
        const listed =
            "error: 1 error occurred:\n    * Quota exceeded for instances: Requested 1\n\nerror: update failed\n";
        assert.equal(classifyEngineError(new Error(listed)).reason, "* Quota exceeded for instances: Requested 1");
        assert.equal(classifyEngineError(new Error("error: update failed")).reason, "error: update failed");
        assert.equal(classifyEngineError(new Error("x".repeat(900))).reason.length, 500);
        assert.equal(classifyEngineError("text").reason, "text");
    });
});

describe("replacement engine", () => {
    const machine = (name: string, more: object = {}) => ({
        urn: `urn:${name}`,
        type: "pulumi-nodejs:dynamic/gateway:Instance",
        id: `${name}/1`,
        outputs: { name, address: "127.0.0.9", incarnation: "1" },
        ...more,
    });
    const slotOf = machineSlots(":Instance", (name) => name.startsWith("gw-"));

    it("finds the slots in a state, without what waits to be deleted", () => {
        const resources = [
            { urn: "stack", type: "pulumi:pulumi:Stack" },
            machine("gw-1"),
            machine("gw-0", { delete: true, id: "gw-0/0" }),
            machine("gw-0", { outputs: { name: "gw-0" } }),
            machine("consul-0"),
            machine("gw-9", { type: "other:Thing" }),
            machine("gw-8", { outputs: {} }),
        ];
        assert.deepEqual(slotsIn(resources, slotOf), [
            { name: "gw-0", urn: "urn:gw-0", serverId: "gw-0/1" },
            { name: "gw-1", urn: "urn:gw-1", serverId: "1", address: "127.0.0.9" },
        ]);
    });

    it("finds the slots of OpenStack by the servers' metadata, and their address as Nova names it", () => {
        const server = (slot: object) => ({
            urn: "urn:pool-0",
            type: "openstack:compute/instance:Instance",
            id: "f0605bfc",
            outputs: { name: "gateway-jetstream-gw-0", accessIpV4: "10.30.0.50", metadata: slot },
        });
        const found = slotsIn([server({ "gateway-slot": "gw-0" }), server({ "gateway-machine": "lb-0" })], slotOf);
        assert.deepEqual(found, [{ name: "gw-0", urn: "urn:pool-0", serverId: "f0605bfc", address: "10.30.0.50" }]);
    });

    it("tells every version of the state from the one before", async () => {
        const deployment = { manifest: { time: "1" }, resources: [machine("gw-0")] };
        const stack = { exportStack: async () => ({ version: 3, deployment }) } as unknown as Stack;
        const engine = automationEngine(stack, slotOf);
        const first = await engine.pool();
        assert.deepEqual(await engine.pool(), first);
        deployment.manifest.time = "2";
        const { stateVersion, slots } = await engine.pool();
        assert.deepEqual(slots, first.slots);
        assert.notEqual(stateVersion, first.stateVersion);
    });

    it("does first what is to be done before each run of the program", async () => {
        const calls: string[] = [];
        const stack = {
            preview: async () => void calls.push("preview"),
            up: async () => void calls.push("up"),
        } as unknown as Stack;
        const prepare = async () => void calls.push("prepare");
        const engine = automationEngine(stack, slotOf, { prepare });
        const { signal } = new AbortController();
        await engine.previewReplace(urn, signal);
        await engine.replace(urn, signal);
        assert.deepEqual(calls, ["prepare", "preview", "prepare", "up"]);
    });

    it("asks the Automation API for exactly one replacement", async () => {
        const asked: unknown[] = [];
        const stack = {
            exportStack: async () => ({ version: 3, deployment: { resources: [machine("gw-0")] } }),
            preview: async ({ onEvent, signal, ...options }: Parameters<Stack["preview"]>[0] & object) => {
                asked.push(["preview", options.replace, signal]);
                onEvent?.({ sequence: 1, timestamp: 1, preludeEvent: { config: {} } });
                for (const { op, urn } of replacement) {
                    onEvent?.({
                        sequence: 2,
                        timestamp: 1,
                        resourcePreEvent: { metadata: { op, urn, type: "", provider: "" } },
                    });
                }
            },
            up: async ({ signal, replace }: Parameters<Stack["up"]>[0] & object) =>
                void asked.push(["up", replace, signal]),
        } as unknown as Stack;
        const engine = automationEngine(stack, slotOf);
        const { signal } = new AbortController();
        assert.deepEqual(
            (await engine.pool()).slots.map(({ name }) => name),
            ["gw-0"],
        );
        assert.deepEqual(await engine.previewReplace(urn, signal), replacement);
        await engine.replace(urn, signal);
        assert.deepEqual(asked, [
            ["preview", [urn], signal],
            ["up", [urn], signal],
        ]);
    });
});
