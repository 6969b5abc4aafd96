import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { balancerStates, parseFabioRoutes, parseHaproxyStatus, statusUrls } from "../../clients/balancerStatus";
import { ConsulHttp, consulHealth } from "../../clients/consul";
import type { Slot } from "../../replacement/core/pool";
import { consulState } from "../../replacement/observe/consul";
import { localControlPlane } from "../../replacement/observe/controlPlane";
import { engineDeployment } from "../../replacement/observe/deployment";
import { type Observers, observeWith } from "../../replacement/observe/observers";
import { NOW } from "./replacementFixtures";

type Answer = { status?: number; headers?: Record<string, string>; body: unknown } | "silence";

/** An HTTP server with one answer per path. */
class FakeServer {
    readonly answers = new Map<string, Answer>();
    readonly tokens = new Set<string | undefined>();
    url = "";
    private readonly server = http.createServer((request, response) => {
        this.tokens.add(request.headers["x-consul-token"] as string | undefined);
        const answer = this.answers.get(request.url ?? "");
        if (answer === "silence") return;
        const body = typeof answer?.body === "string" ? answer.body : JSON.stringify(answer?.body);
        response.writeHead(answer ? (answer.status ?? 200) : 404, answer?.headers).end(body);
    });

    async start(): Promise<void> {
        await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
        this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }

    stop(): void {
        this.server.closeAllConnections();
        this.server.close();
    }
}

const health = "/v1/health/service/gateway";
const entry = (node: string, statuses: string[], more: { meta?: Record<string, string>; check?: string } = {}) => ({
    Node: { Node: node, Address: "10.0.0.1" },
    Service: { Address: "", Meta: more.meta ?? null },
    Checks: statuses.map((Status, at) => ({
        CheckID: at === 0 ? (more.check ?? "serfHealth") : "service:gateway",
        Status,
    })),
});

describe("Consul as an observer", () => {
    let server: FakeServer;
    let consul: ConsulHttp;
    beforeEach(async () => {
        server = new FakeServer();
        await server.start();
        server.answers.set("/v1/status/leader", { body: JSON.stringify("10.0.0.1:8300") });
        consul = new ConsulHttp({ addresses: [server.url], timeoutSeconds: 0.5 });
    });
    afterEach(() => server.stop());

    it("says how each instance is", async () => {
        server.answers.set(health, {
            body: [
                entry("gw-0", ["passing", "passing"]),
                entry("gw-1", ["passing", "critical"], { meta: { incarnation: "b" } }),
                entry("gw-2", ["passing", "warning"]),
                entry("gw-3", ["critical"], { check: "_node_maintenance" }),
                entry("gw-4", []),
            ],
        });
        assert.deepEqual(await consulHealth(consul, "gateway"), [
            { node: "gw-0", address: "10.0.0.1", state: "passing" },
            { node: "gw-1", address: "10.0.0.1", state: "critical", incarnation: "b" },
            { node: "gw-2", address: "10.0.0.1", state: "warning" },
            { node: "gw-3", address: "10.0.0.1", state: "maintenance" },
            { node: "gw-4", address: "10.0.0.1", state: "passing" },
        ]);
    });

    it("is blind without a leader, without an answer, and when its answer was cut", async () => {
        server.answers.set(health, { body: [], headers: { "X-Consul-Results-Filtered-By-ACLs": "true" } });
        await assert.rejects(consulHealth(consul, "gateway"), /token may not see all of "gateway"/);
        server.answers.set(health, { body: [], headers: { "X-Consul-KnownLeader": "false" } });
        await assert.rejects(consulHealth(consul, "gateway"), /no leader/);
        server.answers.set(health, { status: 403, body: "Permission denied" });
        await assert.rejects(consulHealth(consul, "gateway"), /403 Permission denied/);
        server.answers.set(health, "silence");
        await assert.rejects(consulHealth(consul, "gateway"), /no answer in 0\.5 s/);
        server.answers.set("/v1/status/leader", { body: JSON.stringify("") });
        await assert.rejects(consulHealth(consul, "gateway"), /Consul has no leader/);
        server.stop();
        await assert.rejects(consulHealth(consul, "gateway"), /ECONNREFUSED/);
    });

    it("reads its token anew for each request", async () => {
        const directory = mkdtempSync(join(tmpdir(), "token-"));
        const tokenFile = join(directory, "token");
        server.answers.set(health, { body: [] });
        const withToken = new ConsulHttp({ addresses: [server.url], timeoutSeconds: 0.5, tokenFile });
        writeFileSync(tokenFile, "one\n");
        await consulHealth(withToken, "gateway");
        writeFileSync(tokenFile, "two\n");
        await consulHealth(withToken, "gateway");
        assert.deepEqual([...server.tokens], ["one", "two"]);
        rmSync(directory, { recursive: true });
    });

    it("finds a slot by its node, and not what another server of it has registered", () => {
        const entries = [
            { node: "gw-0", address: "a", state: "passing", incarnation: "old" },
            { node: "gw-0", address: "a", state: "critical", incarnation: "new" },
            { node: "gw-1", address: "b", state: "critical" },
            { node: "gw-1", address: "b", state: "passing" },
        ] as const;
        assert.equal(consulState(entries, { name: "gw-0", serverId: "new" }), "critical");
        assert.equal(consulState(entries, { name: "gw-0", serverId: "old" }), "passing");
        assert.equal(consulState(entries, { name: "gw-0", serverId: "other" }), "absent");
        assert.equal(consulState(entries, { name: "gw-1", serverId: "any" }), "passing");
        assert.equal(consulState(entries, { name: "gw-2", serverId: "any" }), "absent");
    });
});

describe("a balancer as an observer", () => {
    const csv = (...rows: string[]) => ["# pxname,svname,desc,status,addr,", ...rows, ""].join("\n");

    it("says what it does with each address", () => {
        const rows = [
            "gateways,FRONTEND,,OPEN,",
            "gateways,gw1,,UP,10.0.0.1:9190",
            "gateways,gw2,,UP 1/2,10.0.0.2:9190",
            'gateways,gw3,"a, b",DOWN,10.0.0.3:9190',
            "gateways,gw4,,DOWN (agent),10.0.0.4:9190",
            "gateways,gw5,,NOLB,10.0.0.5:9190",
            "gateways,gw6,,DRAIN,10.0.0.6:9190",
            "gateways,gw7,,MAINT (resolution),10.0.0.7:9190",
            "gateways,gw8,,no check,10.0.0.8:9190",
            "gateways,gw9,,MAINT,10.0.0.1:9190",
            "gateways,BACKEND,,UP,",
            "status,BACKEND,,UP,10.0.0.9:1",
        ];
        assert.deepEqual(Object.fromEntries(parseHaproxyStatus(csv(...rows), "gateways", "lb-0")), {
            "10.0.0.1": "up",
            "10.0.0.2": "up",
            "10.0.0.3": "down",
            "10.0.0.4": "down",
            "10.0.0.5": "drain",
            "10.0.0.6": "drain",
            "10.0.0.7": "maint",
            "10.0.0.8": "unknown",
        });
    });

    it("is not understood rather than misunderstood", () => {
        const read = (text: string) => () => parseHaproxyStatus(text, "gateways", "lb-0");
        assert.throws(read("<html>"), /lb-0: the status page has no column "pxname"/);
        assert.throws(read(csv("other,gw1,,UP,10.0.0.1:9190")), /there is no backend "gateways"/);
        assert.throws(read(csv("gateways,gw1,,UP,")), /does not show addresses \(stats show-legends\)/);
        assert.deepEqual([...read(csv("gateways,BACKEND,,UP,"))()], []);
    });
});

describe("Fabio as an observer", () => {
    const route = (dst: string) => ({ service: "calls", src: ":9190", dst });

    it("uses the servers that it has routes to", () => {
        const routes = [route("tcp://10.0.0.1:9190"), route("tcp://[fd00::2]:9190"), route("http://10.0.0.3:80/")];
        assert.deepEqual(Object.fromEntries(parseFabioRoutes(JSON.stringify(routes), "lb-0")), {
            "10.0.0.1": "up",
            "fd00::2": "up",
        });
    });

    it("has none when it says null, and is not understood rather than misunderstood", () => {
        assert.equal(parseFabioRoutes("null", "lb-0").size, 0);
        assert.throws(() => parseFabioRoutes('{"routes":[]}', "lb-0"), /lb-0: these are not Fabio's routes/);
        assert.throws(() => parseFabioRoutes("<html>", "lb-0"));
    });

    it("is asked at another address than HAProxy", async () => {
        const server = new FakeServer();
        await server.start();
        try {
            server.answers.set("/api/routes", { body: [route("tcp://10.0.0.1:9190")] });
            const states = await balancerStates({ name: "lb-0", url: statusUrls.fabio(server.url) }, 1);
            assert.deepEqual([...states], [["10.0.0.1", "up"]]);
        } finally {
            server.stop();
        }
    });
});

describe("the local control plane", () => {
    let root: string;
    beforeEach(() => {
        root = mkdtempSync(join(tmpdir(), "machines-"));
    });
    afterEach(() => rmSync(root, { recursive: true }));

    const put = (path: string, content: string) => {
        mkdirSync(join(root, path, ".."), { recursive: true });
        writeFileSync(join(root, path), content);
    };
    const record = { name: "gw-0", incarnation: "a", pid: 42, startTime: "777", createdAt: "2024-01-01T00:00:00.500Z" };
    const stat = (state: string, start: string) => `42 (a (b) c) ${state} ${"1 ".repeat(18)}${start} 99 99`;
    const view = async (serverId = "a") => {
        const slots = [{ name: "gw-0", urn: "urn", serverId }];
        const control = localControlPlane(join(root, "machines"), join(root, "proc"));
        return (await control.servers(slots, new AbortController().signal)).get("gw-0");
    };

    it("takes a server for active while the very process of its record runs", async () => {
        put("machines/gw-0/machine.json", JSON.stringify(record));
        put("proc/42/stat", stat("S", "777"));
        assert.deepEqual(await view(), { state: "active", activeSince: 1_704_067_200.5 });
        put("proc/42/stat", stat("T", "777"));
        assert.equal((await view())?.state, "active", "stopped is not dead");
    });

    it("takes it for gone when that process is another, a zombie or none, and when there is no record of it", async () => {
        put("machines/gw-0/machine.json", JSON.stringify(record));
        const ended = { state: "gone", detail: "process 42 has ended" };
        assert.deepEqual(await view(), ended);
        put("proc/42/stat", stat("S", "778"));
        assert.deepEqual(await view(), ended);
        put("proc/42/stat", stat("Z", "777"));
        assert.deepEqual(await view(), ended);
        put("proc/42/stat", stat("S", "777"));
        assert.deepEqual(await view("b"), { state: "gone", detail: "a has taken its place" });
        rmSync(join(root, "machines/gw-0"), { recursive: true });
        assert.deepEqual(await view(), { state: "gone", detail: "it has no record" });
    });

    it("does not know of a server whose record is not readable", async () => {
        put("machines/gw-0/machine.json", '{"incarnation": "a"');
        assert.equal((await view())?.state, "unknown");
        put("machines/gw-0/machine.json", '{"incarnation": "a"}');
        assert.equal((await view())?.state, "unknown");
    });

    it("does not take a wrong folder for the death of all", async () => {
        await assert.rejects(view(), /there is no folder .*machines/);
    });

    it("sees this process", async () => {
        const { readFileSync } = await import("node:fs");
        const own = readFileSync("/proc/self/stat", "utf8");
        const startTime = own.slice(own.lastIndexOf(")") + 2).split(" ")[19];
        put("machines/gw-0/machine.json", JSON.stringify({ ...record, pid: process.pid, startTime }));
        const slots = [{ name: "gw-0", urn: "urn", serverId: "a" }];
        const views = await localControlPlane(join(root, "machines")).servers(slots, new AbortController().signal);
        assert.equal(views.get("gw-0")?.state, "active");
    });
});

describe("the deployment as an observer", () => {
    it("asks the engine only when what it knows is too old", async () => {
        let asked = 0;
        let now = NOW;
        const engine = { pool: async () => ({ slots: [{ name: `gw-${asked++}`, urn: "u", serverId: "a" }] }) };
        const deployment = engineDeployment(engine, { now: () => now });
        const name = async (age: number) => (await deployment.pool(age)).slots[0]?.name;
        assert.equal(await name(60), "gw-0");
        now += 59;
        assert.equal(await name(60), "gw-0");
        assert.equal(await name(3), "gw-1");
        assert.equal(await name(0), "gw-2");
        now += 60;
        assert.equal(await name(60), "gw-3");
    });
});

describe("an observation", () => {
    const slots: Slot[] = [
        { name: "gw-0", urn: "urn:gw-0", serverId: "a", address: "10.0.0.1" },
        { name: "gw-1", urn: "urn:gw-1", serverId: "b" },
    ];
    let server: FakeServer;
    let observers: Observers;
    beforeEach(async () => {
        server = new FakeServer();
        await server.start();
        server.answers.set("/v1/status/leader", { body: JSON.stringify("10.0.0.1:8300") });
        const second = { ...entry("gw-1", ["critical"]), Service: { Address: "10.0.0.2" } };
        server.answers.set(health, { body: [second] });
        server.answers.set("/;csv", {
            body: "# pxname,svname,status,addr\ngateways,gw1,UP,10.0.0.1:9190\ngateways,gw2,UP,10.0.0.9:9190\n",
        });
        observers = {
            deployment: { pool: async () => ({ slots, stateVersion: "7" }) },
            controlPlane: {
                servers: async () =>
                    new Map([
                        ["gw-0", { state: "active" }],
                        ["gw-1", { state: "error" }],
                    ]),
            },
            consul: new ConsulHttp({ addresses: [server.url], timeoutSeconds: 0.5 }),
            service: "gateway",
            balancers: [
                { name: "lb-0", url: `${server.url}/;csv` },
                { name: "lb-1", url: `${server.url}/none` },
            ],
            store: { pause: async () => undefined },
            clock: { now: () => NOW, sleep: async () => undefined },
            timeoutSeconds: 0.5,
        };
    });
    afterEach(() => server.stop());

    it("brings all views together", async () => {
        assert.deepEqual(await observeWith(observers)(false), {
            version: 1,
            time: NOW,
            deployment: { seen: true, stateVersion: "7" },
            consul: { seen: true },
            controlPlane: { seen: true },
            slots: [
                {
                    slot: "gw-0",
                    urn: "urn:gw-0",
                    serverId: "a",
                    controlPlane: { state: "active" },
                    consul: "absent",
                    balancers: { "lb-0": "up", "lb-1": "unknown" },
                },
                {
                    slot: "gw-1",
                    urn: "urn:gw-1",
                    serverId: "b",
                    controlPlane: { state: "error" },
                    consul: "critical",
                    // Its address is known from Consul, and this balancer does not know it.
                    balancers: { "lb-0": "absent", "lb-1": "unknown" },
                },
            ],
        });
    });

    it("does without a Consul where there is none", async () => {
        const seen = await observeWith({ ...observers, consul: undefined })(false);
        assert.deepEqual(seen.consul, { seen: true, none: true });
        assert.deepEqual(
            seen.slots.map(({ consul, balancers }) => [consul, balancers["lb-0"]]),
            [
                ["none", "up"],
                // Nobody but Consul knows this one's address.
                ["none", "unknown"],
            ],
        );
    });

    it("does not see what fails, and takes nothing for bad because of that", async () => {
        const fail = async () => Promise.reject(new Error("broken"));
        server.stop();
        const seen = await observeWith({ ...observers, controlPlane: { servers: fail }, store: { pause: fail } })(
            false,
        );
        assert.equal(seen.consul.seen, false);
        assert.deepEqual(seen.controlPlane, { seen: false, error: "broken" });
        assert.equal(seen.pause, "unknown");
        assert.deepEqual(
            seen.slots.map(({ controlPlane, consul, balancers }) => [
                controlPlane.state,
                consul,
                Object.values(balancers),
            ]),
            [
                ["unknown", "unknown", ["unknown", "unknown"]],
                ["unknown", "unknown", ["unknown", "unknown"]],
            ],
        );
        const lost = await observeWith({ ...observers, deployment: { pool: fail } })(false);
        assert.deepEqual(
            [lost.deployment, lost.controlPlane.seen, lost.slots],
            [{ seen: false, error: "broken" }, false, []],
        );
    });

    it("is blind for the control plane when that does not know one server", async () => {
        const servers = async () => new Map([["gw-0", { state: "unknown", detail: "torn" } as const]]);
        const seen = await observeWith({ ...observers, controlPlane: { servers } })(false);
        assert.deepEqual(seen.controlPlane, { seen: false, error: "gw-0: torn" });
    });

    it("reads the deployment's state again when a server seems gone, and when asked to", async () => {
        const ages: number[] = [];
        const deployment = {
            pool: async (age: number) => {
                ages.push(age);
                return { slots };
            },
        };
        const servers = async () => new Map([["gw-0", { state: "gone" } as const]]);
        await observeWith({ ...observers, deployment })(false);
        await observeWith({ ...observers, deployment, controlPlane: { servers } })(false);
        await observeWith({ ...observers, deployment, controlPlane: { servers } })(true);
        assert.deepEqual(ages, [60, 60, 3, 0]);
    });

    describe("when the pool grows", () => {
        let state: Slot[];
        let ages: number[];
        const deployment = {
            pool: async (age: number) => {
                ages.push(age);
                return { slots: state };
            },
        };
        beforeEach(() => {
            state = slots;
            ages = [];
        });
        const names = async (observe: ReturnType<typeof observeWith>) =>
            (await observe(false)).slots.map(({ slot }) => slot);

        it("knows of it as soon as the state does, if a gateway that is in no slot registers", async () => {
            const observe = observeWith({ ...observers, deployment });
            await observe(false);
            server.answers.set(health, { body: [entry("gw-1", ["passing"]), entry("gw-2", ["passing"])] });
            assert.deepEqual(await names(observe), ["gw-0", "gw-1"]);
            state = [...slots, { name: "gw-2", urn: "urn:gw-2", serverId: "c", address: "10.0.0.3" }];
            assert.deepEqual(await names(observe), ["gw-0", "gw-1", "gw-2"]);
            assert.deepEqual(ages, [60, 60, 3, 60]);
        });

        it("does not read the state often for ever for a stranger that stays", async () => {
            let now = NOW;
            const clock = { ...observers.clock, now: () => now };
            const observe = observeWith({ ...observers, deployment, clock });
            server.answers.set(health, { body: [entry("gw-9", ["passing"])] });
            await observe(false);
            now += 900;
            await observe(false);
            assert.deepEqual(ages, [60, 3, 60]);
        });

        it("does not ask twice for a state that cannot be read", async () => {
            const pool = async (age: number) => {
                ages.push(age);
                throw new Error("no answer from the engine in 30 s");
            };
            server.answers.set(health, { body: [entry("gw-1", ["passing"])] });
            const seen = await observeWith({ ...observers, deployment: { pool } })(false);
            assert.equal(seen.deployment.seen, false);
            assert.deepEqual(ages, [60]);
        });

        it("goes by the balancers where there is no Consul", async () => {
            state = [{ name: "gw-0", urn: "urn:gw-0", serverId: "a", address: "10.0.0.1" }];
            const observe = observeWith({ ...observers, deployment, consul: undefined });
            await observe(false);
            await observe(false);
            assert.deepEqual(ages, [60, 3, 60, 3]);
        });
    });
});
