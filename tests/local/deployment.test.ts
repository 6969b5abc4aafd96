import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { EngineEvent } from "@pulumi/pulumi/automation";
import { startLoad } from "../../gateway-sample/load";
import { groupMembers, identify } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { killMachine, readStatus, stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { deploy, destroy, isChange, type OpenStack, open, preview } from "../../scripts/deploy";
import { ensureTools, toolPath } from "../../toolchain";
import { cachedNode } from "../../toolchain/node";

/** A separate network, so that a deployment of the developer is not in the way. */
const NETWORK = "127.93.0";
const BALANCERS = [`${NETWORK}.21:9190`, `${NETWORK}.22:9190`];
const MACHINES = ["consul-0", "consul-1", "consul-2", "gw-0", "gw-1", "lb-0", "lb-1", "replacer"];

describe("a deployment on this computer", function () {
    this.timeout(180_000);
    let home: string;
    let machines: string;
    let stack: OpenStack;
    const committed = readFileSync("Pulumi.local.yaml", "utf8");
    const earlier = { ...process.env };
    const options = {
        say: () => undefined,
        // Each run adds its own listeners.
        get signal() {
            return new AbortController().signal;
        },
        overrides: { "gateway:local": { network: `${NETWORK}.0/24` } } as Record<string, unknown>,
    };
    const directory = (name: string) => join(machines, name);
    const reopen = async () => {
        stack = await open("local", options);
    };

    before(async function () {
        if (["pulumi", "consul", "consul-template", "haproxy"].some((tool) => !toolPath(tool as "pulumi"))) {
            if (!process.env.CI) {
                console.log('      skipped: the tools are not installed ("npm run tools")');
                this.skip();
            }
            await ensureTools(["pulumi", "consul", "consul-template", "haproxy"], { progress: console.log });
        }
        home = mkdtempSync(join(tmpdir(), "gateway-deployment-"));
        machines = join(home, "machines");
        process.env.GATEWAY_HOME = home;
        await reopen();
    });

    after(async () => {
        if (!home) return;
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("comes up from nothing, complete", async () => {
        const changes = await deploy(stack, options);
        assert.deepEqual(Object.keys(changes), ["create"]);
        assert.deepEqual(machineNames(machines), MACHINES);
        for (const name of MACHINES) {
            assert.ok(readLiveRecord(directory(name)), `${name} runs`);
            const states = Object.values(readStatus({ machines }, name)?.services ?? {}).map(({ state }) => state);
            assert.ok(states.length > 0);
            assert.deepEqual(
                states.filter((state) => !["ready", "succeeded"].includes(state)),
                [],
                name,
            );
        }
    });

    it("runs the pinned Node on every machine, whatever runs the deployment", () => {
        const nodes = MACHINES.flatMap((name) => groupMembers(readLiveRecord(directory(name))?.pid ?? 0))
            .map((pid) => readlinkSync(`/proc/${pid}/exe`))
            .filter((program) => basename(program) === "node");
        // Each machine has a supervisor at least.
        assert.ok(nodes.length >= MACHINES.length);
        assert.deepEqual([...new Set(nodes)], [cachedNode()]);
    });

    it("does not change if nothing changed, however often it is deployed", async () => {
        const incarnations = () => MACHINES.map((name) => readLiveRecord(directory(name))?.incarnation);
        const before = incarnations();
        assert.equal(isChange(await preview(stack, options)), false);
        assert.equal(isChange(await deploy(stack, options)), false);
        assert.deepEqual(incarnations(), before);
    });

    it("keeps its secrets out of the state, logs, command lines, environments and files that others can read", async () => {
        const secrets = secretsOf(home, machines);
        assert.ok(secrets.length >= 8, `${secrets.length} secrets found`);
        const shows = (text: string) => secrets.some((secret) => text.includes(secret));
        const leaks: string[] = [];
        for (const file of files(home)) {
            const text = readFileSync(file, "latin1");
            const readable = (statSync(file).mode & 0o077) !== 0;
            const plain = file.includes("/state/") || file.includes("/log/") || file.endsWith(".yaml");
            if (shows(text) && (readable || plain)) leaks.push(file);
        }
        for (const name of MACHINES) {
            for (const pid of groupMembers(readLiveRecord(directory(name))?.pid ?? 0)) {
                for (const part of ["cmdline", "environ"]) {
                    if (shows(readFileSync(`/proc/${pid}/${part}`, "latin1")))
                        leaks.push(`${part} of ${pid} (${name})`);
                }
            }
        }
        assert.deepEqual(leaks, []);
    });

    it("replaces a gateway whose machine died, and no repeated call fails", async () => {
        const lost = readLiveRecord(directory("gw-1"));
        const load = startLoad({ addresses: BALANCERS, ratePerSecond: 50, raw: false });
        await waitFor("calls", () => load.live.ok > 50, 10_000);
        await killMachine({ machines }, "gw-1");
        await waitFor("a new gw-1", () => readLiveRecord(directory("gw-1"))?.incarnation, 60_000);
        await waitFor(
            "it in rotation",
            () => readStatus({ machines }, "gw-1")?.services.gateway?.state === "ready",
            30_000,
        );
        await settled();
        const report = await load.stop();
        assert.notEqual(readLiveRecord(directory("gw-1"))?.incarnation, lost?.incarnation);
        assert.deepEqual(report.failures, []);
    });

    it("replaces a gateway while the Consul server that the Consul provider calls is down", async () => {
        const lost = readLiveRecord(directory("gw-0"));
        await killMachine({ machines }, "consul-0");
        await killMachine({ machines }, "gw-0");
        await waitFor("a new gw-0", () => readLiveRecord(directory("gw-0"))?.incarnation, 60_000);
        await settled();
        assert.notEqual(readLiveRecord(directory("gw-0"))?.incarnation, lost?.incarnation);
        assert.equal(readLiveRecord(directory("consul-0")), undefined);
    });

    it("recreates that Consul server", async () => {
        const changes = await deploy(stack, options);
        assert.equal(changes.create, 1);
        assert.ok(readLiveRecord(directory("consul-0")));
        assert.equal(isChange(await preview(stack, options)), false);
    });

    it("rolls exactly the gateways when their environment changes, one at a time, without a failed call", async () => {
        options.overrides["gateway:service"] = { environment: { GREETING: "hello" } };
        await reopen();
        const planned: string[] = [];
        await stack.stack.preview({
            onEvent: ({ resourcePreEvent }: EngineEvent) => {
                const { op, urn } = resourcePreEvent?.metadata ?? { op: "same", urn: "" };
                if (op !== "same") planned.push(urn.split("::").at(-1) ?? "");
            },
        });
        assert.deepEqual([...new Set(planned)].sort(), ["local-pool-0", "local-pool-1"]);

        const before = ["gw-0", "gw-1"].map((name) => readLiveRecord(directory(name))?.incarnation);
        const load = startLoad({ addresses: BALANCERS, ratePerSecond: 100, raw: false });
        let fewest = 2;
        const watch = setInterval(() => {
            fewest = Math.min(fewest, ["gw-0", "gw-1"].filter((name) => readLiveRecord(directory(name))).length);
        }, 20);
        await deploy(stack, options);
        clearInterval(watch);
        const report = await load.stop();
        const after = ["gw-0", "gw-1"].map((name) => readLiveRecord(directory(name))?.incarnation);
        assert.ok(after.every((incarnation, index) => incarnation && incarnation !== before[index]));
        assert.equal(fewest, 1);
        assert.deepEqual(report.failures, []);
    });

    it("finds lost machines by a refresh, and recreates them", async () => {
        await killMachine({ machines }, "lb-1");
        const changes = await deploy(stack, options);
        assert.equal(changes.create, 1);
        assert.ok(readLiveRecord(directory("lb-1")));
        assert.equal(isChange(await preview(stack, options)), false);
    });

    it("adopts a machine that the state does not know, instead of creating another", async () => {
        const before = readLiveRecord(directory("replacer"));
        const urn = (await stack.stack.exportStack()).deployment.resources
            .map((resource: { urn: string }) => resource.urn)
            .find((each: string) => each.endsWith("::local-pool-replacer"));
        const pulumi = toolPath("pulumi") ?? "";
        execFileSync(pulumi, ["state", "delete", urn, "--yes", "--stack", "local"], { stdio: "ignore" });
        const changes = await deploy(stack, options);
        assert.equal(changes.create, 1);
        assert.deepEqual(readLiveRecord(directory("replacer")), before);
    });

    it("deploys nothing if the configuration is invalid", async () => {
        const bad = { ...options, overrides: { ...options.overrides, "gateway:pool": { siez: 3 } } };
        const broken = await open("local", bad);
        await assert.rejects(deploy(broken, bad), /gateway:pool\.siez.*size/s);
        assert.deepEqual(machineNames(machines), MACHINES);
    });

    it("leaves the checkout as it was", () => {
        assert.equal(readFileSync("Pulumi.local.yaml", "utf8"), committed);
    });

    it("is removed without leaving a process, a port or a machine, although a Consul server is down", async () => {
        await reopen();
        const groups = MACHINES.map((name) => readLiveRecord(directory(name))?.pid ?? 0);
        await killMachine({ machines }, "consul-0");
        await destroy(stack, options);
        assert.deepEqual(machineNames(machines), []);
        assert.deepEqual(
            groups.flatMap((group) => groupMembers(group)),
            [],
        );
        assert.equal(
            groups.some((pid) => identify(pid)),
            false,
        );
        const hex = NETWORK.split(".")
            .reverse()
            .map((octet) => Number(octet).toString(16).padStart(2, "0"))
            .join("");
        const listening = readFileSync("/proc/net/tcp", "utf8")
            .split("\n")
            .filter((line) => {
                const [, local = "", , state] = line.trim().split(/\s+/);
                return state === "0A" && local.slice(2, 8).toLowerCase() === hex;
            });
        assert.deepEqual(listening, []);
    });

    /** Waits until the replacement loop has nothing in flight, so that it does not hold the stack's lock. */
    async function settled(): Promise<void> {
        const snapshot = join(directory("replacer"), "run", "snapshot.json");
        await waitFor(
            "the loop to be idle",
            () => {
                const { decision } = JSON.parse(readFileSync(snapshot, "utf8")) as { decision: { reasons: string[] } };
                return decision.reasons.join() === "2 of 2 servers healthy, no evidence against any";
            },
            60_000,
        );
    }
});

function files(directory: string): string[] {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) return files(path);
        return entry.isFile() && statSync(path).size < 4 * 1024 * 1024 ? [path] : [];
    });
}

/** Every secret of the machines, from the files that may contain them, and the passphrase. */
function secretsOf(home: string, machines: string): string[] {
    const found = new Set([readFileSync(join(home, "passphrase"), "utf8")]);
    for (const path of machineNames(machines).flatMap((name) => files(join(machines, name, "etc")))) {
        if ((statSync(path).mode & 0o077) !== 0) continue;
        // An accessor names a token and is not a secret.
        const text = readFileSync(path, "utf8").replace(/"accessorId": "[^"]*"/g, "");
        for (const [token] of text.matchAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g)) {
            if (!/"node_id"/.test(text) || !text.includes(`"node_id": "${token}"`)) found.add(token);
        }
        for (const [, key] of text.matchAll(/"encrypt": "([^"]+)"/g)) if (key) found.add(key);
        const [, pem] = /-----BEGIN PRIVATE KEY-----\n([^\n]+)/.exec(text) ?? [];
        if (pem) found.add(pem);
    }
    return [...found];
}
