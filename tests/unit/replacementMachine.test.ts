import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import type { Stack } from "@pulumi/pulumi/automation";
import { engineMark, engineMarkOf, engineProcesses, engineScope, killEngine } from "../../engine/processes";
import { bucketOf, fileStateLocks, stateLocks } from "../../engine/stateLocks";
import { request } from "../../lib/http";
import { identify } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { succeed, voucher } from "../../programs/replacer/daemon";
import { automationEngine, machineSlots, type StateResource } from "../../replacement/act/engine";
import { decide } from "../../replacement/core/decide";
import { localPolicy } from "../../replacement/core/policy";
import type { JournalEntry } from "../../replacement/journal";
import { Metrics, serveMetrics } from "../../replacement/metrics";
import { slotMetadata, withEpoch } from "../../replacement/serverMetadata";
import { action, memory, observation } from "./replacementFixtures";

describe("the engine's processes", () => {
    const scope = engineScope("test", `/nowhere/${process.pid}`);

    it("are found by their mark, with their children, and killed", async () => {
        const env = { ...process.env, [engineMark]: engineMarkOf(scope, "daemon-1") };
        const parent = spawn("sh", ["-c", "sleep 300 & sleep 300"], { env, stdio: "ignore" });
        const other = spawn("sleep", ["300"], {
            env: { ...env, [engineMark]: engineMarkOf(scope, "daemon-2") },
            stdio: "ignore",
        });
        try {
            const of = (daemon: string) => engineProcesses(scope).filter((found) => found.daemon === daemon);
            const deadline = Date.now() + 5000;
            while (of("daemon-1").length < 3 && Date.now() < deadline)
                await new Promise((done) => setTimeout(done, 10));
            assert.equal(of("daemon-1").length, 3);
            await killEngine(scope, ({ daemon }) => daemon === "daemon-1");
            assert.deepEqual(of("daemon-1"), []);
            assert.equal(of("daemon-2").length, 1);
        } finally {
            await killEngine(scope, () => true);
            await Promise.all(
                [parent, other].map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")),
            );
        }
    });

    it("of another deployment on the same computer are others", () => {
        assert.notEqual(engineScope("local", "/a/session.json"), engineScope("local", "/b/session.json"));
    });
});

describe("locks on the deployment's state", () => {
    let directory: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "locks-"));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    it("tell whether their owner runs the engine, and are removed one by one", async () => {
        const folder = join(directory, ".pulumi/locks/organization/gateway/local");
        const locks = fileStateLocks(`file://${directory}`, "gateway", "local");
        assert.ok(locks);
        assert.deepEqual(await locks.list(), []);
        mkdirSync(folder, { recursive: true });
        const write = (name: string, content: object) => writeFileSync(join(folder, name), JSON.stringify(content));
        write("a.json", { pid: 2 ** 22 + 1, hostname: hostname() });
        // This process lives, but is not the engine: its pid was used again.
        write("b.json", { pid: process.pid, hostname: hostname() });
        write("c.json", { pid: 1, hostname: "elsewhere" });
        writeFileSync(join(folder, "d.json"), "");
        write("b.json.attrs", { "user.content_type": "text/plain" });
        const owners = async () => (await locks.list()).map(({ id, owner }) => [id, owner]);
        assert.deepEqual(await owners(), [
            ["a.json", "dead"],
            ["b.json", "dead"],
            ["c.json", "elsewhere"],
        ]);
        await locks.remove({ id: "../../../a.json", host: "", pid: 1, owner: "dead" });
        await locks.remove({ id: "b.json", host: "", pid: 1, owner: "dead" });
        await locks.remove({ id: "b.json", host: "", pid: 1, owner: "dead" });
        assert.deepEqual(await owners(), [["c.json", "elsewhere"]]);
        assert.deepEqual(readdirSync(folder), ["c.json", "d.json"]);
    });

    it("are removed by the machine of a dead engine, before another daemon can lead, and no others are", async () => {
        const folder = join(directory, ".pulumi/locks/organization/gateway/jetstream");
        mkdirSync(folder, { recursive: true });
        const write = (name: string, content: object) => writeFileSync(join(folder, name), JSON.stringify(content));
        // Something that runs, and is the engine by the name of its file.
        const engine = join(directory, "pulumi");
        copyFileSync("/bin/sleep", engine);
        const running = spawn(engine, ["60"], { stdio: "ignore" });
        const ended = once(running, "exit");
        try {
            await waitFor("it to run", () => identify(running.pid ?? 0) !== undefined, 5_000, 5);
            write("dead.json", { pid: 2 ** 22 + 1, hostname: hostname() });
            write("living.json", { pid: running.pid, hostname: hostname() });
            write("elsewhere.json", { pid: 2 ** 22 + 1, hostname: "consul-1" });
            const session = join(directory, "session.json");
            writeFileSync(session, JSON.stringify({ session: "s", pid: 2 ** 22 + 1, startTime: "1" }));
            const locks = stateLocks(`file://${directory}`, "gateway", "jetstream");
            assert.ok(locks);
            const written: JournalEntry[] = [];
            const vouch = voucher(locks, 30, (entry) => written.push(entry));
            const atRelease: string[] = [];
            const leader = { release: async () => void atRelease.push(...readdirSync(folder)) };
            await succeed(session, "scope", "the new one", leader as unknown as Parameters<typeof succeed>[3], vouch);
            assert.deepEqual(atRelease, ["elsewhere.json", "living.json"]);
            const [entry] = written;
            assert.equal(entry?.kind === "recovery" && entry.step.kind, "removeLock");
            write("dead.json", { pid: 2 ** 22 + 1, hostname: hostname() });
            await vouch();
            assert.equal(readdirSync(folder).length, 3, "not again before 30 s are over");
        } finally {
            running.kill("SIGKILL");
            await ended;
        }
    });

    it("do not keep a daemon from its start when the backend does not answer", async () => {
        const written: JournalEntry[] = [];
        const fails = { list: () => Promise.reject(new Error("no answer")), remove: async () => undefined };
        const vouch = voucher(fails, 0, (entry) => written.push(entry));
        await vouch();
        await vouch();
        assert.deepEqual(
            written.map((entry) => entry.kind === "error" && [entry.where, entry.message]),
            [["vouch", "no answer"]],
        );
        await voucher(undefined, 0, () => assert.fail())();
    });

    it("are seen in a bucket too, and removed from it", async () => {
        const prefix = ".pulumi/locks/organization/gateway/jetstream/";
        const objects = new Map([
            [`${prefix}a.json`, JSON.stringify({ pid: 2 ** 22 + 1, hostname: hostname() })],
            [`${prefix}b.json`, JSON.stringify({ pid: 1, hostname: "elsewhere" })],
        ]);
        const server = createServer((request, response) => {
            const { pathname, searchParams } = new URL(request.url ?? "", "http://bucket");
            const key = decodeURIComponent(pathname.replace("/gateway-state/", ""));
            if (request.method === "DELETE") {
                objects.delete(key);
                response.writeHead(204).end();
            } else if (searchParams.has("list-type")) {
                const keys = [...objects.keys()].filter((each) => each.startsWith(searchParams.get("prefix") ?? ""));
                const contents = keys.map((each) => `<Contents><Key>${each}</Key></Contents>`).join("");
                response.end(`<ListBucketResult>${contents}</ListBucketResult>`);
            } else response.end(objects.get(key));
        });
        await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
        const { port } = server.address() as AddressInfo;
        const keys = join(directory, "keys");
        writeFileSync(keys, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n");
        process.env.AWS_SHARED_CREDENTIALS_FILE = keys;
        try {
            const query = `endpoint=127.0.0.1:${port}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1`;
            const locks = stateLocks(`s3://gateway-state?${query}`, "gateway", "jetstream");
            const owners = async () => (await locks?.list())?.map(({ id, owner }) => [id, owner]);
            assert.deepEqual(await owners(), [
                ["a.json", "dead"],
                ["b.json", "elsewhere"],
            ]);
            await locks?.remove({ id: "../x/a.json", host: "", pid: 1, owner: "dead" });
            assert.deepEqual(await owners(), [["b.json", "elsewhere"]]);
        } finally {
            delete process.env.AWS_SHARED_CREDENTIALS_FILE;
            server.close();
            server.closeAllConnections();
        }
    });

    it("are looked for where the engine has them", () => {
        const found = bucketOf("s3://state/below?endpoint=objects.example.org&s3ForcePathStyle=true");
        assert.deepEqual(found, {
            bucket: "state",
            folder: "below/",
            options: { region: "us-east-1", endpoint: "https://objects.example.org", forcePathStyle: true },
        });
        assert.deepEqual(bucketOf("s3://state?region=eu-west-1").options, { region: "eu-west-1" });
    });

    it("cannot be seen in a backend of another kind", () => {
        assert.equal(stateLocks("gs://bucket", "gateway", "local"), undefined);
    });
});

describe("a new server's metadata", () => {
    it("is fresh only for the slot that is being replaced", async () => {
        assert.deepEqual(slotMetadata("gw-0"), { epoch: "0", fresh: false });
        await withEpoch({ slot: "gw-0", epoch: 7 }, async () => {
            assert.deepEqual(slotMetadata("gw-0"), { epoch: "7", fresh: true });
            assert.deepEqual(slotMetadata("gw-1"), { epoch: "0", fresh: false });
        });
        await assert.rejects(withEpoch({ slot: "gw-0", epoch: 7 }, () => Promise.reject(new Error("boom"))));
        assert.deepEqual(slotMetadata("gw-0"), { epoch: "0", fresh: false });
    });
});

describe("the engine's state after a run that was cut off", () => {
    const resource = (name: string, changes: Partial<StateResource> = {}): StateResource => ({
        ...{ urn: `urn:${name}`, type: "gateway:Instance", id: `${name}-a` },
        ...{ inputs: { name }, outputs: { name, incarnation: `${name}-a` } },
        ...changes,
    });
    const { id: _, outputs: __, ...creating } = resource("gw-0");
    const state = () => ({
        resources: [resource("gw-0", { pendingReplacement: true } as object), resource("gw-1")],
        pending_operations: [
            { resource: creating, type: "creating" },
            { resource: { urn: "urn:port", type: "other:Port" }, type: "creating" },
            { resource: resource("gw-1"), type: "deleting" },
        ],
    });

    function stackWith() {
        const calls: unknown[] = [];
        let deployment: object = state();
        const stack = {
            exportStack: async () => ({ version: 3, deployment }),
            importStack: async (given: { deployment: object }) => {
                deployment = given.deployment;
            },
            refresh: async (options: { target: string[] }) => void calls.push(options.target),
        } as unknown as Stack;
        const engine = automationEngine(
            stack,
            machineSlots(":Instance", (name) => name.startsWith("gw-")),
        );
        return { engine, calls, now: () => deployment as ReturnType<typeof state> };
    }

    it("tells which slots were being created", async () => {
        const { engine } = stackWith();
        assert.deepEqual(await engine.pendingCreates?.(), [{ urn: "urn:gw-0", slot: "gw-0" }, { urn: "urn:port" }]);
        assert.deepEqual([...((await engine.resourceIds?.()) ?? [])], ["gw-0-a", "gw-1-a"]);
    });

    it("takes a server in, and reads from the cloud what else there is to know", async () => {
        const { engine, calls, now } = stackWith();
        await engine.adopt?.("urn:gw-0", "found", new AbortController().signal);
        assert.deepEqual(
            now().resources.map(({ id }) => id),
            ["found", "gw-1-a"],
        );
        assert.ok(!("pendingReplacement" in (now().resources[0] ?? {})));
        assert.equal(now().pending_operations.length, 2);
        assert.deepEqual(calls, [["urn:gw-0"]]);
        await assert.rejects(
            async () => engine.adopt?.("urn:none", "x", new AbortController().signal),
            /does not know/,
        );
    });

    it("forgets one creation", async () => {
        const { engine, now } = stackWith();
        await engine.clearPending?.("urn:gw-0");
        assert.equal(now().pending_operations.length, 2);
        assert.deepEqual(now().resources, state().resources);
    });
});

describe("the daemon's metrics", () => {
    it("are served in Prometheus' format, with the health beside them", async () => {
        const metrics = new Metrics();
        metrics.journaled({ kind: "leadership", time: 1, event: { kind: "elected", epoch: 3 } });
        const seen = observation();
        metrics.decided(decide(seen, memory(), localPolicy), seen);
        const report = { outcome: { kind: "done" }, seconds: { preview: 1, replace: 4 } } as const;
        metrics.journaled({ kind: "action", time: 1, action, report });
        let healthy = true;
        const server = await serveMetrics("127.0.0.1:0", metrics, () => ({ healthy, role: "leader", lastSign: 1 }));
        try {
            const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
            const get = (path: string) => request({ url: `${url}${path}`, timeoutSeconds: 2 });
            const { body } = await get("/metrics");
            for (const line of [
                "gateway_replacement_leader 1",
                "gateway_replacement_epoch 3",
                'gateway_replacement_slots{condition="healthy"} 2',
                'gateway_replacement_pool_gate_passed{gate="budgetHour"} 1',
                'gateway_replacement_actions_total{outcome="done"} 1',
                'gateway_replacement_replace_seconds_bucket{le="5"} 1',
            ]) {
                assert.ok(body.split("\n").includes(line), line);
            }
            assert.equal((await get("/health")).status, 200);
            healthy = false;
            const ill = await get("/health");
            assert.deepEqual(
                [ill.status, JSON.parse(ill.body)],
                [503, { healthy: false, role: "leader", lastSign: 1 }],
            );
            assert.equal((await get("/other")).status, 404);
            metrics.journaled({ kind: "leadership", time: 2, event: { kind: "lost", epoch: 3, reason: "x" } });
            const after = (await get("/metrics")).body;
            assert.ok(after.includes("gateway_replacement_leader 0"));
            assert.doesNotMatch(after, /replacement_slots\{/);
        } finally {
            server.close();
        }
    });
});
