import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { emptyMemory } from "../../replacement/memory";
import { ConsulHttp, consulHealth, consulState } from "../../replacement/observers/consul";
import { consulStore } from "../../replacement/store";
import { toolPath } from "../../scripts/tools";

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
