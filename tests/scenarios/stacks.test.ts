/** The stacks `fabio` and `serf-haproxy` as complete deployments: the real engine, real processes, real faults. */
import * as assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { balancerStates, statusUrls } from "../../clients/balancerStatus";
import { SerfClient, type SerfRpcAddress, serfEvent, serfTags } from "../../clients/serf";
import { startLoad } from "../../gateway-sample/load";
import { groupMembers } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import type { ConsulRegistration } from "../../programs/drain/main";
import { parseBackends } from "../../programs/reconciler/backends";
import type { ReconcilerStatus } from "../../programs/reconciler/status";
import type { MembersSettings } from "../../programs/serf-members/main";
import { killMachine, readStatus, stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { deploy, destroy, isChange, type OpenStack, open, preview } from "../../scripts/deploy";
import { ensureTools, type ToolName, toolPath } from "../../toolchain";

type Stack = "consul-template-haproxy" | "fabio" | "serf-haproxy";

/** A deployment in a separate folder and network, and the faults that tests inject. */
class Deployment {
    readonly home = mkdtempSync(join(tmpdir(), "gateway-stacks-"));
    readonly machines = join(this.home, "machines");
    readonly balancers: readonly string[];
    private opened: OpenStack | undefined;
    private readonly overrides: Record<string, unknown>;

    constructor(private readonly network: string) {
        this.balancers = [21, 22].map((host) => `${network}.${host}:9190`);
        this.overrides = {
            "gateway:local": { network: `${network}.0/24` },
            // The tests inject faults and watch the recovery themselves. The loop has its own test.
            "gateway:replacement": { enabled: false },
            "gateway:service": { stopTimeoutSeconds: 10 },
            // The engine cannot refresh objects in a Consul that is down.
            "gateway:consulObjects": false,
        };
    }

    /** Opens the stack with another load balancing stack, or other keys. */
    async configure(stack: Stack, more: Record<string, unknown> = {}): Promise<OpenStack> {
        Object.assign(this.overrides, {
            "gateway:loadBalancer": { stack, drainSeconds: 3 },
            ...more,
        });
        this.opened = await open("local", { say: () => undefined, overrides: this.overrides });
        return this.opened;
    }

    private get options() {
        return { say: () => undefined, signal: new AbortController().signal, overrides: this.overrides };
    }

    private get stack(): OpenStack {
        assert.ok(this.opened);
        return this.opened;
    }

    deploy = () => deploy(this.stack, this.options);
    preview = () => preview(this.stack, this.options);
    destroy = () => destroy(this.stack, this.options);

    /** Each machine's services, by name. */
    services(machine: string): string[] {
        return Object.keys(readStatus({ machines: this.machines }, machine)?.services ?? {}).sort();
    }

    pid(machine: string, service: string): number {
        return readStatus({ machines: this.machines }, machine)?.services[service]?.pid ?? 0;
    }

    directory = (machine: string) => join(this.machines, machine);

    /** Kills one service's process; its supervisor starts it again. */
    kill(machine: string, service: string, signal: NodeJS.Signals = "SIGKILL"): void {
        const pid = this.pid(machine, service);
        assert.ok(pid > 0, `${service} of ${machine} runs`);
        process.kill(pid, signal);
    }

    /** How a balancer uses each gateway, by the end of its address. */
    async view(balancer: 0 | 1, stack: Stack): Promise<Record<string, string>> {
        const page = `http://${this.network}.${21 + balancer}:9192`;
        const url = stack === "fabio" ? statusUrls.fabio(page) : statusUrls.haproxy(page);
        const states = await balancerStates({ name: page, url }, 1);
        return Object.fromEntries(
            [...states].filter(([address]) => address.startsWith(this.network)).map(([key, state]) => [key, state]),
        );
    }

    /** Each balancer's answer to a health check of a cloud's load balancer: 200 to 399 means healthy. */
    checked(): Promise<number[]> {
        const ask = async (host: number) =>
            (await fetch(`http://${this.network}.${host}:9192/`, { redirect: "manual" })).status;
        return Promise.all([21, 22].map(ask));
    }

    /** The state that a balancer's reconciler reports. */
    reconciler(machine: string): ReconcilerStatus {
        return JSON.parse(readFileSync(join(this.directory(machine), "run/reconciler.json"), "utf8"));
    }

    gateway = (index: number) => `${this.network}.${50 + index}`;

    /** Waits until both balancers send calls to exactly these gateways. */
    async inRotation(stack: Stack, ...indices: number[]): Promise<void> {
        const wanted = indices.map(this.gateway).sort().join();
        for (const balancer of [0, 1] as const) {
            await waitFor(
                `balancer ${balancer} to use ${wanted}`,
                async () => {
                    const view = await this.view(balancer, stack);
                    const up = Object.keys(view).filter((address) => view[address] === "up");
                    if (up.sort().join() === wanted) return true;
                    throw new Error(JSON.stringify(view));
                },
                40_000,
            );
        }
    }

    load = (raw = false, ratePerSecond = 100) => startLoad({ addresses: this.balancers, ratePerSecond, raw });

    /** Stops everything, by the records of what was started here. */
    async remove(): Promise<void> {
        for (const name of machineNames(this.machines)) await stopMachine({ machines: this.machines }, name);
        rmSync(this.home, { recursive: true, force: true });
    }
}

describe("other stacks on this computer", function () {
    this.timeout(240_000);
    const earlier = { ...process.env };
    let deployment: Deployment;

    before(async function () {
        const needed: ToolName[] = ["pulumi", "consul", "consul-template", "haproxy", "fabio", "serf"];
        const missing = needed.filter((tool) => !toolPath(tool));
        if (missing.length === 0) return;
        if (!process.env.CI) {
            console.log(`      skipped: not installed: ${missing.join(", ")} ("npm run tools")`);
            this.skip();
        }
        await ensureTools(missing, { progress: console.log });
    });

    after(() => {
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    const begin = (network: string) => {
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        deployment = new Deployment(network);
        process.env.GATEWAY_HOME = deployment.home;
    };

    /** Sends calls during an operation. @returns the calls' results. */
    const during = async (work: () => Promise<unknown>, load = deployment.load()) => {
        try {
            await waitFor("calls", () => load.live.ok > 100, 10_000);
            await work();
            const { ok } = load.live;
            await waitFor("more calls", () => load.live.ok > ok + 100, 10_000);
        } finally {
            await load.stop();
        }
        return load.stop();
    };

    /** Starts the replacement loop, kills a gateway's machine, and waits until the loop has replaced it. */
    const healed = async (stack: Stack, check: () => void = () => undefined) => {
        await deployment.configure(stack, { "gateway:replacement": { enabled: true } });
        await deployment.deploy();
        await waitFor("the loop to see all", () => settled(deployment.directory("replacer")), 60_000);
        const lost = readLiveRecord(deployment.directory("gw-1"))?.incarnation;
        await killMachine({ machines: deployment.machines }, "gw-1");
        const incarnation = () => readLiveRecord(deployment.directory("gw-1"))?.incarnation;
        assert.notEqual(await waitFor("a new gw-1", incarnation, 60_000), lost);
        await deployment.inRotation(stack, 0, 1);
        // Until then, the loop holds the engine's lock.
        await waitFor("it to be settled", () => settled(deployment.directory("replacer")), 60_000);
        check();
        await deployment.configure(stack, { "gateway:replacement": { enabled: false } });
        await deployment.deploy();
    };

    describe("serf-haproxy", () => {
        before(() => begin("127.93.10"));
        after(() => deployment.remove());
        const stack = "serf-haproxy";

        it("comes up without Consul, and does not change if nothing changed", async () => {
            await deployment.configure(stack);
            assert.deepEqual(Object.keys(await deployment.deploy()), ["create"]);
            assert.deepEqual(machineNames(deployment.machines), ["gw-0", "gw-1", "lb-0", "lb-1"]);
            assert.deepEqual(deployment.services("lb-0"), ["haproxy", "reconciler", "serf", "serf-members"]);
            assert.deepEqual(deployment.services("gw-0"), ["gateway", "gateway-health", "serf"]);
            await deployment.inRotation(stack, 0, 1);
            const changes = await deployment.preview();
            assert.equal(isChange(changes), false, JSON.stringify(changes));
            const { failures } = await during(async () => undefined);
            assert.deepEqual(failures, []);
            assert.deepEqual(await deployment.checked(), [200, 200]);
        });

        it("keeps its keys out of logs, command lines, environments and files that others can read", () => {
            const { encrypt_key, rpc_auth } = JSON.parse(
                readFileSync(join(deployment.directory("gw-0"), "etc/serf/agent.json"), "utf8"),
            ) as Record<string, string>;
            assert.ok(encrypt_key && rpc_auth);
            const shows = (text: string) => [encrypt_key, rpc_auth].some((secret) => text.includes(secret));
            const leaks: string[] = [];
            for (const file of files(deployment.home)) {
                const open = (statSync(file).mode & 0o077) !== 0;
                const plain = file.includes("/state/") || file.includes("/log/");
                if ((open || plain) && shows(readFileSync(file, "latin1"))) leaks.push(file);
            }
            for (const name of machineNames(deployment.machines)) {
                for (const pid of groupMembers(readLiveRecord(deployment.directory(name))?.pid ?? 0)) {
                    for (const part of ["cmdline", "environ"]) {
                        if (shows(readFileSync(`/proc/${pid}/${part}`, "latin1"))) leaks.push(`${name} ${part}`);
                    }
                }
            }
            assert.deepEqual(leaks, []);
        });

        it("continues when a gateway's machine is killed, which leaves the rotation and comes back", async () => {
            const { failures } = await during(async () => {
                await killMachine({ machines: deployment.machines }, "gw-1");
                await deployment.inRotation(stack, 0);
                assert.equal((await deployment.deploy()).create, 1);
                await deployment.inRotation(stack, 0, 1);
            });
            assert.deepEqual(failures, []);
        });

        it("drains a gateway that is stopped, without a failed call", async () => {
            const load = deployment.load(true);
            const report = await during(async () => {
                await stopMachine({ machines: deployment.machines }, "gw-1");
                await deployment.inRotation(stack, 0);
            }, load);
            assert.deepEqual(report.failures, []);
            await deployment.deploy();
            await deployment.inRotation(stack, 0, 1);
        });

        /**
         * Waits until a balancer's agent knows all members, and its list has both gateways. The list then stays as it
         * is.
         */
        const knowsAll = (balancer: string) =>
            waitFor(
                `${balancer} to know all`,
                async () => {
                    const directory = deployment.directory(balancer);
                    const text = readFileSync(join(directory, "etc/serf-members.json"), "utf8");
                    const { rpc, list } = JSON.parse(text) as MembersSettings;
                    const client = await SerfClient.connect(rpc);
                    const members = await client.members().finally(() => client.close());
                    const alive = members.filter(({ status }) => status === "alive").length;
                    const listed = parseBackends(readFileSync(resolve(directory, list), "utf8")).backends.length;
                    if (alive === 4 && listed === 2) return true;
                    throw new Error(`${alive} alive, ${listed} listed`);
                },
                30_000,
            );

        it("continues when every Serf agent is killed, and finds all members again", async () => {
            const { failures } = await during(async () => {
                const machines = ["lb-0", "lb-1", "gw-0", "gw-1"];
                const killed = machines.map((name) => deployment.pid(name, "serf"));
                for (const name of machines) deployment.kill(name, "serf");
                await waitFor(
                    "the agents to be back",
                    () =>
                        machines.every((name, index) => {
                            const pid = deployment.pid(name, "serf");
                            return pid > 0 && pid !== killed[index];
                        }),
                    10_000,
                );
                // Until the agents have heard of each other again, a balancer's list may lack a gateway for a moment.
                for (const name of ["lb-0", "lb-1"]) await knowsAll(name);
                await deployment.inRotation(stack, 0, 1);
            });
            assert.deepEqual(failures, []);
        });

        it("continues with the last good list while a balancer's agent hangs", async () => {
            const agent = deployment.pid("lb-0", "serf");
            const alarms = () =>
                readFileSync(join(deployment.directory("lb-0"), "log/serf-members.log"), "utf8").split(
                    "the list stays as it is",
                ).length;
            const before = alarms();
            const { failures } = await during(async () => {
                process.kill(agent, "SIGSTOP");
                await waitFor("it to be noticed", () => alarms() > before, 20_000);
                assert.deepEqual(Object.values(await deployment.view(0, stack)), ["up", "up"]);
                process.kill(agent, "SIGCONT");
                await deployment.inRotation(stack, 0, 1);
            }).finally(() => process.kill(agent, "SIGCONT"));
            assert.deepEqual(failures, []);
        });

        it("refuses an empty list when all gateways have disappeared", async () => {
            const agents = ["gw-0", "gw-1"].map((name) => deployment.pid(name, "serf"));
            const { failures } = await during(async () => {
                for (const agent of agents) process.kill(agent, "SIGSTOP");
                for (const name of ["lb-0", "lb-1"]) {
                    await waitFor(
                        `${name} to refuse the empty list`,
                        () => deployment.reconciler(name).alarms.some((alarm) => /is empty and refused/.test(alarm)),
                        60_000,
                    );
                    assert.notEqual(deployment.reconciler(name).serving.length, 0);
                }
            }).finally(() => {
                for (const agent of agents) process.kill(agent, "SIGCONT");
            });
            assert.deepEqual(failures, []);
            await deployment.inRotation(stack, 0, 1);
        });

        it("loses no call during 100 changes of the routes", async () => {
            const rpc = (
                JSON.parse(readFileSync(join(deployment.directory("gw-1"), "etc/drain.json"), "utf8")) as {
                    serf: SerfRpcAddress;
                }
            ).serf;
            const client = await SerfClient.connect(rpc);
            const report = await during(async () => {
                for (let change = 0; change < 100; change += 2) {
                    await client.setTags(serfTags.draining);
                    await client.sendEvent(serfEvent, "draining");
                    await deployment.inRotation(stack, 0);
                    await client.setTags({}, ["state"]);
                    await client.sendEvent(serfEvent, "back");
                    await deployment.inRotation(stack, 0, 1);
                }
            }, deployment.load(true)).finally(() => client.close());
            assert.deepEqual(report.failures, []);
        });

        it("replaces a gateway whose machine died, with a loop that keeps its memory in a file", async () => {
            const { failures } = await during(() =>
                healed(stack, () => {
                    const store = join(deployment.directory("replacer"), "lib/store.json");
                    const { memory } = JSON.parse(readFileSync(store, "utf8")) as { memory: { taken: number[] } };
                    assert.equal(memory.taken.length, 1);
                }),
            );
            assert.deepEqual(failures, []);
        });

        it("restarts a killed balancer with the same slots", async () => {
            const slots = () => deployment.reconciler("lb-0").slots;
            const before = slots();
            assert.equal(Object.keys(before).length, 2);
            const { failures } = await during(async () => {
                await killMachine({ machines: deployment.machines }, "lb-0");
                assert.equal((await deployment.deploy()).create, 1);
                await deployment.inRotation(stack, 0, 1);
            });
            assert.deepEqual(failures, []);
            assert.deepEqual(slots(), before);
        });

        it("finds the gateways again after all balancers were stopped at once and replaced", async () => {
            for (const name of ["lb-0", "lb-1"]) await stopMachine({ machines: deployment.machines }, name);
            assert.equal((await deployment.deploy()).create, 2);
            await deployment.inRotation(stack, 0, 1);
        });

        it("rolls the gateways one at a time without a failed call", async () => {
            await deployment.configure(stack, {
                "gateway:service": { stopTimeoutSeconds: 10, environment: { GREETING: "hello" } },
            });
            const { failures } = await during(async () => {
                assert.equal((await deployment.deploy()).replace, 2);
            });
            assert.deepEqual(failures, []);
        });

        it("refuses a change to a stack with Consul, says why, and changes nothing", async () => {
            const records = () =>
                machineNames(deployment.machines).map((name) => readLiveRecord(deployment.directory(name)));
            const before = records();
            await deployment.configure("consul-template-haproxy");
            await assert.rejects(deployment.preview(), /cannot change from .*serf-haproxy.*second environment/s);
            await assert.rejects(deployment.deploy(), /cannot change from .*serf-haproxy.*second environment/s);
            assert.deepEqual(records(), before);
            await deployment.configure(stack);
            assert.equal(isChange(await deployment.deploy()), false);
            assert.deepEqual(records(), before);
        });

        it("is removed without leaving anything", async () => {
            await deployment.destroy();
            assert.deepEqual(machineNames(deployment.machines), []);
        });
    });

    describe("fabio", () => {
        before(() => begin("127.93.11"));
        after(() => deployment.remove());

        it("replaces consul-template and HAProxy in a running deployment, without a failed call", async () => {
            await deployment.configure("consul-template-haproxy");
            await deployment.deploy();
            await deployment.inRotation("consul-template-haproxy", 0, 1);
            await deployment.configure("fabio");
            const report = await during(async () => {
                const { update, replace, ...rest } = await deployment.deploy();
                assert.deepEqual([update, replace], [2, 2], JSON.stringify(rest));
                await deployment.inRotation("fabio", 0, 1);
            });
            assert.deepEqual(report.failures, []);
            assert.deepEqual(deployment.services("lb-0"), ["consul", "fabio"]);
            const changes = await deployment.preview();
            assert.equal(isChange(changes), false, JSON.stringify(changes));
            assert.deepEqual(await deployment.checked(), [303, 303]);
        });

        it("shows no secret, and allows no changes of its routes", async () => {
            const page = "http://127.93.11.21:9192";
            const config = await (await fetch(`${page}/api/config`)).text();
            assert.match(config, /"Token":\s*""/);
            assert.equal((await fetch(`${page}/api/manual/`, { method: "PUT", body: "{}" })).status, 403);
        });

        it("deregisters a gateway when its process dies, and registers it when the process is back", async () => {
            const { api, serviceId, token } = JSON.parse(
                readFileSync(join(deployment.directory("gw-1"), "etc/drain.json"), "utf8"),
            ) as ConsulRegistration;
            const answers = async () => {
                const url = `${api}/v1/agent/health/service/id/${serviceId}`;
                return (await fetch(url, { headers: { "X-Consul-Token": token } })).status;
            };
            assert.equal(await answers(), 200);
            deployment.kill("gw-1", "gateway");
            await waitFor("its deregistration", async () => (await answers()) === 404, 10_000, 5);
            await deployment.inRotation("fabio", 0, 1);
        });

        it("stops sending calls to a gateway whose machine was killed, and resumes when it is back", async () => {
            let left = 0;
            let back = 0;
            const { failures } = await during(async () => {
                await killMachine({ machines: deployment.machines }, "gw-1");
                await deployment.inRotation("fabio", 0);
                left = Date.now();
                await waitFor("some calls without it", () => Date.now() > left + 1_500, 5_000);
                back = Date.now();
                await deployment.deploy();
                await deployment.inRotation("fabio", 0, 1);
            });
            // Until Consul has noticed, Fabio sends every other connection there, and a client may give up before a
            // retry succeeds. This is by design: Fabio has no checks of its own and does not try another gateway. The
            // same holds for the moment in which the machine is back in Consul with the last known state of its
            // gateway.
            assert.deepEqual(
                failures.filter(({ startedAt }) => startedAt > left && startedAt < back),
                [],
            );
        });

        it("drains a gateway that is stopped, without a failed call", async () => {
            const report = await during(async () => {
                await stopMachine({ machines: deployment.machines }, "gw-1");
                await deployment.inRotation("fabio", 0);
            }, deployment.load(true));
            assert.deepEqual(report.failures, []);
            await deployment.deploy();
            await deployment.inRotation("fabio", 0, 1);
        });

        it("loses no call during 100 changes of the routes", async () => {
            const { api, serviceId, token } = JSON.parse(
                readFileSync(join(deployment.directory("gw-1"), "etc/drain.json"), "utf8"),
            ) as ConsulRegistration;
            const maintain = async (enable: boolean) => {
                const url = `${api}/v1/agent/service/maintenance/${serviceId}?enable=${enable}`;
                const { status } = await fetch(url, { method: "PUT", headers: { "X-Consul-Token": token } });
                assert.equal(status, 200);
            };
            const report = await during(async () => {
                for (let change = 0; change < 100; change += 2) {
                    await maintain(true);
                    await deployment.inRotation("fabio", 0);
                    await maintain(false);
                    await deployment.inRotation("fabio", 0, 1);
                }
            }, deployment.load(true));
            assert.deepEqual(report.failures, []);
        });

        it("continues with its routes when every Consul server is killed", async () => {
            const servers = ["consul-0", "consul-1", "consul-2"];
            const { failures } = await during(async () => {
                for (const name of servers) await killMachine({ machines: deployment.machines }, name);
                for (const balancer of [0, 1] as const) {
                    const log = join(deployment.directory(`lb-${balancer}`), "log/fabio.log");
                    const asked = () => readFileSync(log, "utf8").split("Error fetching health state").length - 1;
                    await waitFor("Fabio to have asked without success", () => asked() >= 3, 30_000);
                    assert.equal(Object.keys(await deployment.view(balancer, "fabio")).length, 2);
                }
                await deployment.deploy();
                await deployment.inRotation("fabio", 0, 1);
            });
            assert.deepEqual(failures, []);
        });

        it("works with the loop, which replaces a gateway whose machine died", () => healed("fabio"));

        it("restarts a killed balancer with all routes", async () => {
            const { failures } = await during(async () => {
                deployment.kill("lb-0", "fabio");
                await deployment.inRotation("fabio", 0, 1);
            });
            assert.deepEqual(failures, []);
        });

        it("changes back to consul-template and HAProxy, without a failed call", async () => {
            await deployment.configure("consul-template-haproxy");
            const report = await during(async () => {
                await deployment.deploy();
                await deployment.inRotation("consul-template-haproxy", 0, 1);
            });
            assert.deepEqual(report.failures, []);
        });

        it("refuses a change to serf-haproxy while it runs, and changes nothing", async () => {
            await deployment.configure("serf-haproxy");
            await assert.rejects(deployment.deploy(), /cannot change from .*fabio.*to serf-haproxy/s);
            await deployment.configure("consul-template-haproxy");
            const changes = await deployment.deploy();
            assert.equal(isChange(changes), false, JSON.stringify(changes));
        });
    });
});

/** Whether the replacement loop on a machine has nothing in flight. */
function settled(directory: string): boolean {
    const { decision } = JSON.parse(readFileSync(join(directory, "run/snapshot.json"), "utf8")) as {
        decision: { reasons: string[] };
    };
    return decision.reasons.join() === "2 of 2 servers healthy, no evidence against any";
}

function files(directory: string): string[] {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) return files(path);
        return entry.isFile() && statSync(path).size < 4 * 1024 * 1024 ? [path] : [];
    });
}
