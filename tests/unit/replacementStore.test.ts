import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsulHttp } from "../../clients/consul";
import { identify } from "../../lib/processes";
import { emptyMemory } from "../../replacement/core/loopMemory";
import { fileCommands, fileStore } from "../../replacement/fileStore";
import { consulStore, memoryStore, type Store } from "../../replacement/store";
import { NOW } from "./replacementFixtures";

/** The part of Consul's KV API that the store uses, in this process. */
class FakeConsul {
    readonly keys = new Map<string, { value: string; index: number }>();
    fails = false;
    private index = 10;
    private readonly server = http.createServer((request, response) => {
        let body = "";
        request.on("data", (chunk) => {
            body += chunk;
        });
        request.on("end", () => {
            const [status, answer] = this.fails ? [500, "No cluster leader"] : this.answer(request, body);
            response.writeHead(status).end(typeof answer === "string" ? answer : JSON.stringify(answer));
        });
    });

    async start(): Promise<string> {
        await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
        return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }

    stop(): void {
        this.server.close();
    }

    private answer({ url = "", method }: http.IncomingMessage, body: string): [number, unknown] {
        if (url === "/v1/txn") {
            const [{ KV }] = JSON.parse(body);
            assert.equal(KV.Verb, "cas");
            if ((this.keys.get(KV.Key)?.index ?? 0) !== KV.Index)
                return [409, { Results: null, Errors: [{ What: "stale" }] }];
            this.keys.set(KV.Key, { value: Buffer.from(KV.Value, "base64").toString(), index: ++this.index });
            return [200, { Results: [{ KV: { Key: KV.Key, ModifyIndex: this.index } }], Errors: null }];
        }
        const key = url.replace("/v1/kv/", "");
        if (method === "PUT") this.keys.set(key, { value: body, index: ++this.index });
        if (method === "DELETE") this.keys.delete(key);
        if (method !== "GET") return [200, true];
        const found = this.keys.get(key);
        if (!found) return [404, ""];
        return [200, [{ Value: Buffer.from(found.value).toString("base64"), ModifyIndex: found.index }]];
    }
}

const key = "gateway/replacement/memory";

/** What every store has to do. */
function behavesAsStore(store: () => Store): void {
    it("is empty at first", async () => assert.deepEqual(await store().load(), { memory: emptyMemory, index: 0 }));

    it("gives back what was saved, with a version to save the next by", async () => {
        const first = await store().save({ ...emptyMemory, taken: [NOW] }, 0);
        assert.ok(first && first.index > 0);
        assert.deepEqual(await store().load(), first);
        assert.deepEqual(first.memory.taken, [NOW]);
        const second = await store().save(emptyMemory, first.index);
        assert.ok(second && second.index > first.index);
    });

    it("does not overwrite what somebody else has saved", async () => {
        const first = await store().save({ ...emptyMemory, taken: [1] }, 0);
        assert.ok(first);
        assert.equal(await store().save({ ...emptyMemory, taken: [2] }, 0), undefined);
        await store().save({ ...emptyMemory, taken: [3] }, first.index);
        assert.equal(await store().save({ ...emptyMemory, taken: [4] }, first.index), undefined);
        assert.deepEqual((await store().load()).memory.taken, [3]);
    });

    it("has a pause switch", async () => {
        const pause = { who: "ann", why: "upgrade", when: NOW };
        assert.equal(await store().pause(), undefined);
        await store().setPause(pause);
        assert.deepEqual(await store().pause(), pause);
        await store().setPause(undefined);
        await store().setPause(undefined);
        assert.equal(await store().pause(), undefined);
    });
}

describe("replacement store in memory", () => {
    let store: Store;
    beforeEach(() => {
        store = memoryStore();
    });
    behavesAsStore(() => store);
});

describe("replacement store in Consul", () => {
    let consul: FakeConsul;
    let address: string;
    let store: Store;
    beforeEach(async () => {
        consul = new FakeConsul();
        address = await consul.start();
        store = consulStore(new ConsulHttp({ addresses: [address], timeoutSeconds: 2 }));
    });
    afterEach(() => consul.stop());
    behavesAsStore(() => store);

    it("does not take what it does not understand for an empty memory", async () => {
        consul.keys.set(key, { value: "{}", index: 5 });
        await assert.rejects(
            store.load(),
            /Consul's key gateway\/replacement\/memory holds what this version does not/,
        );
        consul.keys.set(key, { value: "nonsense", index: 6 });
        await assert.rejects(store.load(), /does not hold JSON/);
        consul.keys.set("gateway/replacement/paused", { value: '{"who":1}', index: 7 });
        await assert.rejects(store.pause(), /gateway\/replacement\/paused/);
    });

    it("fails when Consul does, and does not say that somebody else wrote", async () => {
        consul.fails = true;
        await assert.rejects(store.load(), /500 No cluster leader/);
        await assert.rejects(store.save(emptyMemory, 0), /500 No cluster leader/);
        await assert.rejects(store.pause(), /500/);
        await assert.rejects(store.setPause(undefined), /500/);
    });

    it("asks another server when one does not answer or fails", async () => {
        const ill = new FakeConsul();
        ill.fails = true;
        const illAddress = await ill.start();
        const addresses = ["http://127.0.0.1:1", illAddress, address];
        const several = consulStore(new ConsulHttp({ addresses, timeoutSeconds: 2 }));
        assert.ok(await several.save(emptyMemory, 0));
        assert.equal((await several.load()).index, 11);
        ill.stop();
    });
});

describe("the store in a file", () => {
    let directory: string;
    let path: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "store-"));
        path = join(directory, "lib", "store.json");
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    behavesAsStore(() => fileStore(path));

    it("lets one of many win who write at once, and leaves nothing behind", async () => {
        const stores = Array.from({ length: 20 }, () => fileStore(path));
        const results = await Promise.all(stores.map((store, at) => store.save({ ...emptyMemory, taken: [at] }, 0)));
        const won = results.filter((result) => result !== undefined);
        assert.equal(won.length, 1);
        assert.deepEqual(await fileStore(path).load(), won[0]);
        assert.deepEqual(readdirSync(join(directory, "lib")), ["store.json"]);
    });

    it("keeps the pause switch when the memory is saved, and the memory when the switch is set", async () => {
        const store = fileStore(path);
        const pause = { who: "me", why: "lunch", when: NOW };
        await store.setPause(pause);
        const { index } = await store.load();
        const saved = await store.save({ ...emptyMemory, taken: [1] }, index);
        assert.deepEqual(await store.pause(), pause);
        await store.setPause(undefined);
        assert.deepEqual(await store.load(), saved);
    });

    it("takes over the lock of a process that died, not that of one that lives", async function () {
        this.timeout(20_000);
        const store = fileStore(path);
        await store.save(emptyMemory, 0);
        const dead = Number(execFileSync("sh", ["-c", "echo $$"], { encoding: "utf8" }));
        writeFileSync(`${path}.lock`, JSON.stringify({ pid: dead, startTime: "1" }));
        assert.ok(await store.save({ ...emptyMemory, taken: [1] }, 1));
        assert.ok(!existsSync(`${path}.lock`));
        writeFileSync(`${path}.lock`, JSON.stringify(identify(process.pid)));
        await assert.rejects(
            fileStore(path, 50).save(emptyMemory, 2),
            /store\.json\.lock is held by process \d+ of this computer, which runs\. .*kill \d+$/,
        );
        assert.deepEqual((await store.load()).memory.taken, [1]);
    });

    it("does not take what it does not understand for an empty memory", async () => {
        await fileStore(path).save(emptyMemory, 0);
        for (const text of ["{", '{"index":1,"memory":{}}']) {
            writeFileSync(path, text);
            await assert.rejects(fileStore(path).load(), /store\.json (does not hold JSON|holds what)/);
        }
    });

    it("holds operator commands as well: one request at a time, answered and removed", async () => {
        const [daemon, operator] = [fileCommands(`${path}.desk`), fileCommands(`${path}.desk`)];
        const request = { id: "1", slot: "gw-0", who: "ada", why: "noise", when: NOW };
        assert.equal(await daemon.request(), undefined);
        assert.equal(await operator.ask(request), true);
        assert.equal(await operator.ask({ ...request, id: "2" }), false);
        assert.deepEqual(await daemon.request(), request);
        await operator.withdraw("2");
        assert.deepEqual(await daemon.request(), request);
        const answer = { id: "1", done: true, text: "replaced", time: NOW };
        await daemon.reply(answer);
        assert.deepEqual(await operator.answer(), answer);
        assert.equal(await daemon.request(), undefined);
        assert.equal(await operator.ask({ ...request, id: "3" }), true);
        await operator.withdraw("3");
        assert.equal(await daemon.request(), undefined);
    });
});
