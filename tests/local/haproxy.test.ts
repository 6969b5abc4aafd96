/** The configurations, with a real HAProxy. */
import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, get } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitFor } from "../../lib/wait";
import { gatewayHealth, healthUrl } from "../../roles/gatewayHealth";
import type { CheckSettings, HealthCheck } from "../../roles/healthCheck";
import { balancerStatusUrl, haproxyBalancer } from "../../roles/loadBalancer/balancer";
import { processLayout } from "../../roles/render/process";
import { toolPath } from "../../toolchain";
import { callOnce, FakeGateway, TestBalancer, TestProcess, Traffic, testNetwork, writeRole } from "./support/balancer";

const thrift: HealthCheck = { kind: "thrift", method: "ping", framed: false };
const checks: Record<string, HealthCheck> = {
    thrift,
    framed: { kind: "thrift", method: "ping", framed: true },
    multiplexed: { kind: "thrift", method: "getAPIVersion", service: "Airavata", framed: false },
    "with arguments": {
        ...thrift,
        arguments: [{ id: 1, kind: "struct", fields: [{ id: 1, kind: "string", value: 'it\'s "quoted" %[x]' }] }],
        exception: "healthy",
    },
    tcp: { kind: "tcp" },
    http: { kind: "http", path: "/it's?a=b#c" },
    "http with a status": { kind: "http", path: "/health", status: 204 },
};

describe("HAProxy", function () {
    this.timeout(30_000);
    let haproxy = "";
    const cleanups: (() => unknown)[] = [];

    before(function () {
        const path = toolPath("haproxy");
        if (path) haproxy = path;
        else {
            console.log("      haproxy is not installed (npm run tools)");
            this.skip();
        }
    });

    afterEach(async () => {
        for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    });

    function folder(): string {
        const directory = mkdtempSync(join(tmpdir(), "gw-"));
        cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
        return directory;
    }

    async function gateway(address: string, hasEndpoint = true): Promise<FakeGateway> {
        const made = await new FakeGateway(address, 9190, hasEndpoint).start();
        cleanups.push(() => made.kill());
        return made;
    }

    async function balancer(...gateways: FakeGateway[]): Promise<TestBalancer> {
        const made = new TestBalancer(testNetwork()(21), haproxy);
        cleanups.push(() => made.stop());
        await made.start(...gateways.map((each, index) => each.backend(`gw-${index}`)));
        return made;
    }

    for (const [name, healthCheck] of Object.entries(checks)) {
        it(`accepts the configurations with the check ${name}`, () => {
            const layout = processLayout("m", testNetwork()(1));
            const directory = folder();
            const service = { port: 9190, healthCheck };
            const balancer = haproxyBalancer(
                {
                    port: service.port,
                    slots: 20,
                    networks: ["127.0.0.0/8"],
                    maxConnections: 100,
                    drainSeconds: 30,
                    reconcilerBundle: { file: "", sha256: "" },
                    haproxyVersion: "2.6",
                },
                layout,
            );
            for (const role of [balancer, gatewayHealth({ service, haproxyVersion: "2.6" }, layout)]) {
                writeRole(directory, role);
                const config = role.services[0]?.argv.at(-1) ?? "";
                const result = spawnSync(haproxy, ["-c", "-f", config], { cwd: directory, encoding: "utf8" });
                assert.equal(result.status, 0, result.stderr);
            }
        });
    }

    it("gives a draining gateway no new connections, keeps its old ones, and puts it back into service", async () => {
        const network = testNetwork();
        const [a, b] = [await gateway(network(1)), await gateway(network(2))];
        const lb = await balancer(a, b);
        const clients = [lb.client(), lb.client()];
        cleanups.push(() => {
            for (const client of clients) client.close();
        });
        for (const client of clients) await client.call();
        assert.deepEqual([a.calls, b.calls], [1, 1], "each gateway has one of the clients");

        a.health = "exception";
        await waitFor("the draining gateway to be NOLB", async () => (await lb.server(a))?.status === "NOLB", 3_000);
        for (let i = 0; i < 10; i++) await callOnce(lb.address, 9190);
        assert.equal(a.calls, 1, "no new connection goes to it");
        for (const client of clients) await client.call();
        assert.equal(a.calls, 2, "its connection lives on");

        a.health = "reply";
        await lb.settled([a.backend("a"), b.backend("b")]);
        b.health = "exception";
        await waitFor("the other to be NOLB", async () => (await lb.server(b))?.status === "NOLB", 3_000);
        await callOnce(lb.address, 9190);
        assert.equal(a.calls, 3, "it is used again");
    });

    it("takes a gateway out of service that accepts connections but answers nothing", async () => {
        const network = testNetwork();
        const [a, b] = [await gateway(network(1)), await gateway(network(2))];
        const lb = await balancer(a, b);
        a.health = "silence";
        await waitFor("it to be down", async () => (await lb.server(a))?.status === "DOWN", 4_000);
        await callOnce(lb.address, 9190);
        assert.equal(b.calls, 1);
    });

    it("shows its state, read-only, and nothing else", async () => {
        const a = await gateway(testNetwork()(1));
        const lb = await balancer(a);
        const url = balancerStatusUrl({ address: lb.address });
        const status = async (path: string) => (await fetch(`${url}${path}`)).status;
        assert.equal(await status("/"), 200);
        assert.equal(await status("/metrics"), 200);
        assert.equal(await status("/;csv"), 200);
        assert.equal(await status("/x"), 404);
        assert.equal((await lb.server(a))?.address, `${a.address}:9190`);
        const form = await fetch(url, { method: "POST", body: "s=gw1&action=maint&b=gateways", redirect: "manual" });
        assert.notEqual(form.status, 200);
        assert.ok((await lb.server(a))?.status.startsWith("UP"), "a form changes nothing");
        assert.doesNotMatch(await (await fetch(url)).text(), /method="post"/i);
    });

    it("completes calls in flight when it stops, and accepts no new ones", async () => {
        const a = await gateway(testNetwork()(1));
        const lb = await balancer(a);
        const client = lb.client();
        const call = client.call("slow");
        await waitFor("the call to arrive", () => a.calls === 1, 3_000);
        const stopping = lb.beforeStop();
        await waitFor(
            "the port to be closed",
            () =>
                callOnce(lb.address, 9190).then(
                    () => false,
                    () => true,
                ),
            3_000,
        );
        a.release();
        await call;
        client.close();
        await stopping;
        await lb.haproxy?.stop("SIGTERM");
    });

    it("loses no connection when its configuration changes, and keeps what it knows of the gateways", async () => {
        const network = testNetwork();
        const [a, b] = [await gateway(network(1)), await gateway(network(2))];
        assert.ok(a && b);
        const lb = await balancer(a, b);
        // A call that lasts longer than all of the changes.
        const client = lb.client();
        const slow = client.call("slow");
        cleanups.push(() => client.close());
        await waitFor("the call to be there", () => a.calls + b.calls > 0, 3_000);
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        const workers = new Set<string | undefined>();
        for (let round = 1; round <= 20; round++) {
            assert.equal(await lb.reload((config) => config.replace(/(timeout queue) \d+s/, `$1 ${round}s`)), 0);
            workers.add(/^Pid: (\d+)$/m.exec(await lb.runtime.ask("show info"))?.[1]);
            const up = (await lb.servers()).filter(({ status }) => status.startsWith("UP"));
            assert.equal(
                up.length,
                2,
                `round ${round}: ${JSON.stringify((await lb.servers()).filter(({ status }) => status !== "MAINT"))} ${await lb.runtime.ask("show servers state")} ${readFileSync(join(lb.directory, "haproxy.log"))}`,
            );
        }
        assert.equal(workers.size, 20);
        await traffic.stop();
        assert.deepEqual(traffic.failures, []);
        assert.ok(traffic.calls > 500, `there was traffic: ${traffic.calls} calls`);
        a.release();
        b.release();
        await slow;
        await waitFor("the reconciler to follow", () => lb.status().serving.length === 2, 3_000);
    });

    it("goes on with the old configuration when the new one is wrong, and says what is wrong", async () => {
        const a = await gateway(testNetwork()(1));
        const lb = await balancer(a);
        const pid = await lb.runtime.ask("show info");
        assert.equal(await lb.reload((config) => config.replace("mode tcp", "mode nonsense")), 1);
        assert.equal(
            /^Pid: .*$/m.exec(await lb.runtime.ask("show info"))?.[0],
            /^Pid: .*$/m.exec(pid)?.[0],
            "the worker is the same",
        );
        assert.match(readFileSync(join(lb.directory, "reload.log"), "utf8"), /unknown proxy mode 'nonsense'/);
        await callOnce(lb.address, 9190);
    });

    it("shows its state while clients use up their connections", async () => {
        const lb = new TestBalancer(testNetwork()(21), haproxy, { maxClients: 20 });
        cleanups.push(() => lb.stop());
        await lb.start((await gateway(testNetwork()(1))).backend("gw-0"));
        const clients = Array.from({ length: 40 }, () => lb.client());
        cleanups.push(() => clients.map((client) => client.close()));
        const counted = async () => {
            const response = await fetch(`${balancerStatusUrl({ address: lb.address })}/;csv`, {
                signal: AbortSignal.timeout(2_000),
            });
            return /^clients,FRONTEND,[^,]*,[^,]*,(\d+),/m.exec(await response.text())?.[1];
        };
        await waitFor("the clients to be at their limit", async () => (await counted()) === "20", 5_000);
        assert.equal(await counted(), "20");
    });

    it("closes idle connections after their time, and what does not fit into the queue at once", async () => {
        const settings = { maxConnections: 1, maxQueue: 1, queueSeconds: 20, idleSeconds: 3 };
        const lb = new TestBalancer(testNetwork()(21), haproxy, settings);
        cleanups.push(() => lb.stop());
        const a = await gateway(testNetwork()(1));
        await lb.start(a.backend("gw-0"));
        const column = async (proxy: string, name: string) => {
            const [heading = "", ...rows] = (await lb.runtime.ask("show stat")).split("\n");
            const row = rows.find((each) => each.startsWith(proxy))?.split(",") ?? [];
            return row[heading.replace("# ", "").split(",").indexOf(name)];
        };
        // During the slow start there is no limit.
        await waitFor("the limit", async () => (await column("gateways,gw1,", "slim")) === "1", 15_000);
        const [idle, waiting] = [lb.client(), lb.client()];
        cleanups.push(() => [idle, waiting].map((client) => client.close()));
        await idle.call();
        const call = waiting.call();
        await waitFor("the second to wait", async () => (await column("gateways,BACKEND", "qcur")) === "1", 2_000);
        const begun = Date.now();
        await assert.rejects(callOnce(lb.address, 9190));
        assert.ok(Date.now() - begun < 1_000, "it is told at once");
        assert.equal(await column("clients,FRONTEND", "dreq"), "1", "it is counted");
        await call;
        assert.ok(idle.closed, "the idle one gave its place away");
    });

    describe("as a gateway's health endpoint", () => {
        async function startEndpoint(
            healthCheck: HealthCheck,
            port: number,
            address: string,
            { directory = folder(), checks = {} }: { directory?: string; checks?: CheckSettings } = {},
        ) {
            const layout = processLayout("gw-test", address);
            const role = gatewayHealth({ service: { port, healthCheck, checks }, haproxyVersion: "2.6" }, layout);
            writeRole(directory, role);
            const argv = role.services[0]?.argv ?? [];
            const run = new TestProcess([haproxy, ...argv.slice(1)], directory, join(directory, "log"));
            cleanups.push(() => run.stop());
            // A connection each, as Consul has when the last one was lost.
            return () =>
                new Promise<number>((done, fail) => {
                    get(healthUrl(layout), { agent: false }, (response) => {
                        response.resume();
                        done(response.statusCode ?? 0);
                    }).on("error", fail);
                });
        }
        const toSay = (status: number, ask: () => Promise<number>) =>
            waitFor(`the endpoint to answer ${status}`, async () => (await ask()) === status, 4_000, 20);

        it("answers 503 until the gateway has passed a check, then 200, 404 while it drains, and 503 if it hangs or is dead", async () => {
            const address = testNetwork()(1);
            const a = await gateway(address, false);
            a.health = "silence";
            const ask = await startEndpoint(thrift, 9190, address);
            const first = await waitFor("the endpoint to answer", ask, 3_000, 5);
            assert.equal(first, 503, "a gateway that has not been checked yet is not healthy");
            a.health = "reply";
            await toSay(200, ask);
            a.health = "exception";
            await toSay(404, ask);
            a.health = "reply";
            await toSay(200, ask);
            a.health = "silence";
            await toSay(503, ask);
            a.health = "reply";
            await toSay(200, ask);
            await a.kill();
            await toSay(503, ask);
        });

        it("says in its log what the gateway answers when a check fails", async () => {
            const address = testNetwork()(1);
            const a = await gateway(address, false);
            a.health = "exception";
            const directory = folder();
            const ask = await startEndpoint(thrift, 9190, address, { directory });
            const log = () => readFileSync(join(directory, "log"), "utf8");
            await waitFor("the answer", () => /the server answered 'Draining'/.test(log()), 3_000);
            a.health = "reply";
            await toSay(200, ask);
        });

        it("lets a gateway pause for 3 s with calls in flight, if it is to be tolerant", async () => {
            const network = testNetwork();
            const a = await gateway(network(1), false);
            const checks = { preset: "tolerant" } as const;
            const ask = await startEndpoint(thrift, 9190, network(1), { checks });
            await toSay(200, ask);
            const lb = new TestBalancer(network(21), haproxy, { checks });
            cleanups.push(() => lb.stop());
            await lb.start(a.backend("gw-0"));
            const clients = Array.from({ length: 20 }, () => lb.client());
            cleanups.push(() => clients.map((client) => client.close()));
            const calls = clients.map((client) => client.call("slow"));
            await waitFor("the calls to arrive", () => a.calls === 20, 3_000);
            a.health = "silence";
            await delay(3_000);
            a.health = "reply";
            assert.equal(await ask(), 200);
            a.release();
            await Promise.all(calls);
            assert.match((await lb.server(a))?.status ?? "", /^UP/);
        });

        it("answers beside many connections without a request, and ends those", async () => {
            const address = testNetwork()(1);
            await gateway(address, false);
            const ask = await startEndpoint(thrift, 9190, address);
            await toSay(200, ask);
            const idle = Array.from({ length: 200 }, () => connect(9191, address));
            cleanups.push(() => idle.map((socket) => socket.destroy()));
            let count = 0;
            const ended = idle.map(
                (socket) =>
                    new Promise<void>((done) =>
                        socket.resume().on("close", () => {
                            count += 1;
                            done();
                        }),
                    ),
            );
            await Promise.all(idle.map((socket) => new Promise((done) => socket.on("connect", done))));
            assert.equal(await ask(), 200);
            assert.ok(count < 100, `it waited until ${count} of ${idle.length} had ended`);
            await Promise.all(ended);
        });

        it("checks over HTTP", async () => {
            const address = testNetwork()(1);
            const server = createServer((request, response) => {
                response.statusCode = request.url === "/it's?a=b" ? 200 : 500;
                response.end();
            });
            await new Promise<void>((done) => server.listen(0, address, done));
            cleanups.push(() => server.close());
            const { port } = server.address() as AddressInfo;
            await toSay(200, await startEndpoint({ kind: "http", path: "/it's?a=b" }, port, address));
        });
    });
});
