import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { ConsulHttp, consulHealth } from "../../clients/consul";
import { emptyMemory } from "../../replacement/core/loopMemory";
import { consulLocks } from "../../replacement/leaderLocks";
import { leaseTimes } from "../../replacement/lease";
import { consulState } from "../../replacement/observe/consul";
import { consulCommands } from "../../replacement/operatorCommands";
import { consulStore, FencedOff } from "../../replacement/store";
import { toolPath } from "../../toolchain";

/** A loopback address that no other test uses. */
const ADDRESS = `127.${180 + (process.pid % 20)}.${Math.floor(process.pid / 20) % 250}.7`;

describe("the replacement loop's view of a real Consul", () => {
    let agent: ChildProcess | undefined;
    const consul = new ConsulHttp({ addresses: [`http://${ADDRESS}:8500`], timeoutSeconds: 2 });

    before(async function () {
        this.timeout(30_000);
        const binary = toolPath("consul");
        if (!binary) return this.skip();
        const argv = [
            "agent",
            "-dev",
            "-log-level=error",
            `-bind=${ADDRESS}`,
            `-client=${ADDRESS}`,
            "-hcl",
            "ports { grpc = -1, grpc_tls = -1, dns = -1 }",
        ];
        agent = spawn(binary, argv, { stdio: "ignore" });
        const deadline = Date.now() + 25_000;
        while (
            !(await consul.getKey("any").then(
                () => true,
                () => false,
            ))
        ) {
            if (Date.now() > deadline || agent.exitCode !== null) throw new Error("the Consul agent does not answer");
            await new Promise((resolve) => setTimeout(resolve, 100));
        }
    });

    after(async () => {
        if (!agent || agent.exitCode !== null) return;
        const ended = once(agent, "exit");
        agent.kill("SIGKILL");
        await ended;
    });

    it("swaps the memory only if nobody else has written", async () => {
        const store = consulStore(consul);
        assert.deepEqual(await store.load(), { memory: emptyMemory, index: 0 });
        const first = await store.save({ ...emptyMemory, taken: [1] }, 0);
        assert.ok(first);
        assert.deepEqual(await store.load(), first);
        assert.equal(await store.save({ ...emptyMemory, taken: [2] }, 0), undefined);
        const second = await store.save({ ...emptyMemory, taken: [3] }, first.index);
        assert.ok(second);
        assert.equal(await store.save({ ...emptyMemory, taken: [4] }, first.index), undefined);
        assert.deepEqual((await store.load()).memory.taken, [3]);
    });

    it("lets one of several writers win", async () => {
        const store = consulStore(consul, "race/");
        const writes = [1, 2, 3, 4, 5].map((taken) => store.save({ ...emptyMemory, taken: [taken] }, 0));
        const won = (await Promise.all(writes)).filter((stored) => stored !== undefined);
        assert.equal(won.length, 1);
        assert.deepEqual(await store.load(), won[0]);
    });

    it("refuses the writes of who does not hold the lock any more", async () => {
        const prefix = "fenced/";
        const store = consulStore(consul, prefix);
        const locks = consulLocks(consul, prefix, { ...leaseTimes, lockDelay: 0 });
        const holder = { host: "a", pid: 1 };
        const [first, second] = [await locks.open(), await locks.open()];
        assert.equal(await locks.acquire(first, holder), 1);
        assert.equal(await locks.acquire(first, holder), 1, "it is its own already");
        assert.equal(await locks.acquire(second, { host: "b", pid: 2 }), undefined);
        assert.deepEqual(await locks.holder(), { ...holder, epoch: 1 });
        const stored = await store.save({ ...emptyMemory, taken: [1] }, 0, { session: first });
        assert.ok(stored);
        await assert.rejects(store.save(emptyMemory, stored.index, { session: second }), FencedOff);

        await locks.release(first);
        assert.equal(await locks.renew(first), false);
        assert.equal(await locks.acquire(second, holder), 2, "a greater epoch");
        await assert.rejects(store.save(emptyMemory, stored.index, { session: first }), FencedOff);
        assert.deepEqual((await store.load()).memory.taken, [1]);
        assert.ok(await store.save(emptyMemory, stored.index, { session: second }));
        assert.equal(await store.save(emptyMemory, stored.index, { session: second }), undefined);
    });

    it("takes requests, answers them, and keeps a bounded journal", async () => {
        const commands = consulCommands(consul, "commands/");
        const request = { id: "1", slot: "gw-0", who: "ann", why: "study", when: 1 };
        assert.equal(await commands.ask(request), true);
        assert.equal(await commands.ask({ ...request, id: "2" }), false, "one at a time");
        assert.deepEqual(await commands.request(), request);
        await commands.withdraw("2");
        assert.deepEqual(await commands.request(), request);
        const answer = { id: "1", done: true, text: "gw-0 was replaced", time: 2 };
        await commands.reply(answer);
        assert.deepEqual(await commands.answer(), answer);
        assert.equal(await commands.request(), undefined);

        assert.deepEqual(await commands.records(), []);
        const stop = (time: number) => ({ kind: "stop", time, reason: "told to stop" }) as const;
        for (let time = 0; time < 66; time++) await commands.record(stop(time));
        // The next leader goes on where the first one ended.
        const next = consulCommands(consul, "commands/");
        for (let time = 66; time < 70; time++) await next.record(stop(time));
        const times = (await commands.records()).map(({ time }) => time);
        assert.equal(times.length, 64);
        assert.deepEqual([times[0], times.at(-1)], [6, 69]);
    });

    it("has a pause switch", async () => {
        const store = consulStore(consul);
        assert.equal(await store.pause(), undefined);
        await store.setPause({ who: "ann", why: "upgrade", when: 1 });
        assert.deepEqual(await store.pause(), { who: "ann", why: "upgrade", when: 1 });
        await store.setPause(undefined);
        assert.equal(await store.pause(), undefined);
    });

    it("sees a gateway pass, fail and go", async () => {
        const slot = { name: "gw-0", serverId: "a" };
        const register = (status: string) =>
            consul.ask(
                "/v1/catalog/register",
                "PUT",
                JSON.stringify({
                    Node: "gw-0",
                    Address: "10.0.0.1",
                    Service: { ID: "gateway", Service: "gateway", Port: 9190, Meta: { incarnation: "a" } },
                    Check: { CheckID: "gateway", ServiceID: "gateway", Name: "gateway", Status: status },
                }),
            );
        const state = async () => consulState(await consulHealth(consul, "gateway"), slot);
        assert.equal(await state(), "absent");
        for (const status of ["passing", "warning", "critical"]) {
            await register(status);
            assert.equal(await state(), status);
        }
        await consul.ask("/v1/catalog/deregister", "PUT", JSON.stringify({ Node: "gw-0" }));
        assert.equal(await state(), "absent");
    });
});
