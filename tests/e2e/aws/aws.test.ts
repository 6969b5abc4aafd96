/**
 * Target aws, with the real engine and AWS's real provider, but without AWS. An emulator (moto) serves the API, and
 * machines are containers that boot from the user data. Stand-ins replace the health checks of targets, AutoScaling,
 * the network load balancer's data path and the metadata service, as the tests need them (`emulator/fleet`, `support`).
 */
import * as assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { DescribeScalingActivitiesCommand } from "@aws-sdk/client-auto-scaling";
import {
    DescribeInstanceAttributeCommand,
    DescribeLaunchTemplateVersionsCommand,
    DescribeTagsCommand,
    TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { DescribeTargetGroupsCommand, DescribeTargetHealthCommand } from "@aws-sdk/client-elastic-load-balancing-v2";
import { GetParametersByPathCommand } from "@aws-sdk/client-ssm";
import { waitFor } from "../../../lib/wait";
import { userDataLimit } from "../../../roles/render/cloudInit";
import { isChange } from "../../../scripts/deploy";
import type { Host } from "../../hosts/host";
import { inLab } from "../../hosts/lab";
import type { EngineTask } from "../support/engineRun";
import { type Callers, type Calls, during, failuresOf } from "./support/calls";
import { runningInstances } from "./support/cloud";
import { Environment, ZONES } from "./support/environment";
import { record, tell } from "./support/figures";
import { type Gateway, Pool } from "./support/pool";
import { requirements } from "./support/requirements";

const PORT = 9190;
const MINUTE = 60_000;

describe("target aws, at an emulator of AWS's API, with stand-ins and booted machines", function () {
    this.timeout(15 * MINUTE);
    let environment: Environment;
    let pool: Pool;
    /** The settings that differ from the usual ones; scenarios change them. */
    const config = { "gateway:pool": { size: 2 }, "gateway:service": { stopTimeoutSeconds: 5, environment: {} } };
    let outputs: Readonly<Record<string, unknown>> = {};
    /** What the emulator has before the deployment, such as AWS's default VPC. */
    let atStart: string[] = [];
    const log: string[] = [];
    const startedAt = Date.now();

    before(async function () {
        const missing = [...(await requirements.missing()), ...(inLab() ? [] : ["a lab (npm run e2e:aws)"])];
        if (missing.length > 0) {
            console.log(`      skipped, missing: ${missing.join("; ")}`);
            this.skip();
        }
        environment = await Environment.open((line) => {
            log.push(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(8)} s  ${line}`);
            if (process.env.E2E_VERBOSE) console.log(log.at(-1));
        });
        pool = new Pool(environment);
        atStart = await environment.emulator.inventory();
    });

    // Later tests make no sense without a deployment.
    beforeEach(function () {
        if (this.currentTest?.title !== FIRST && pool.balancers.length === 0) this.skip();
    });

    afterEach(function () {
        if (this.currentTest?.state === "failed") console.log(log.slice(-60).join("\n"));
    });

    after(async () => {
        tell(console.log);
        await environment?.close();
    });

    const FIRST = "comes up from nothing, serving";

    /** The balancers, for a client that has the addresses of both. */
    const twoAddresses = (): Callers => {
        const addresses = pool.balancers.map((address) => `${address}:${PORT}`);
        return { raw: addresses[0] as string, repeated: addresses };
    };
    /** The network load balancer's addresses, as DNS would return them. */
    const throughNlb = (): Callers => {
        const addresses = environment.balancer.nodes.map(({ address }) => `${address}:${PORT}`);
        return { raw: addresses[0] as string, repeated: addresses };
    };
    const engine = (action: EngineTask["action"]) => environment.engine(action, config);
    const size = () => config["gateway:pool"].size;

    describe("a deployment", () => {
        it(FIRST, async () => {
            const result = await engine("deploy");
            assert.deepEqual(Object.keys(result.changes), ["create"]);
            outputs = result.outputs;
            const { balancerStatus } = outputs.aws as { balancerStatus: string[] };
            pool.balancers = balancerStatus.map((url) => new URL(url).hostname);
            const gateways = await pool.whole(size());
            assert.equal(new Set(gateways.map(({ zone }) => zone)).size, size(), "each gateway in another zone");
            const { raw, repeated } = await during(throughNlb(), async () => undefined);
            assert.deepEqual([...failuresOf(raw), ...failuresOf(repeated)], []);
            for (const { host } of gateways)
                assert.equal(await host.exec(["systemctl", "is-active", "gw-ready"]), "active");
        });

        it("keeps user data under 16 KiB, and secrets out of user data, templates, tags and outputs", async () => {
            const { ec2 } = environment.emulator.clients;
            const stored = await secretsOf(environment);
            assert.ok(stored.length > 5, "there are secrets");
            const { LaunchTemplateVersions = [] } = await ec2.send(
                new DescribeLaunchTemplateVersionsCommand({ Versions: ["$Latest"] }),
            );
            const instances = await runningInstances(environment.emulator.clients);
            const attributes = await Promise.all(
                instances.map(({ InstanceId }) =>
                    ec2.send(new DescribeInstanceAttributeCommand({ InstanceId, Attribute: "userData" })),
                ),
            );
            const userData = [
                ...attributes.map(({ UserData }) => UserData?.Value ?? ""),
                ...LaunchTemplateVersions.map(({ LaunchTemplateData }) => LaunchTemplateData?.UserData ?? ""),
            ].map((text) => Buffer.from(text, "base64"));
            assert.equal(userData.length, 3 + 2 + size() + 1);
            for (const bytes of userData) {
                assert.ok(bytes.length > 1000 && bytes.length < userDataLimit, `${bytes.length} bytes of user data`);
            }
            const shown = [
                ...userData.map((bytes) => gunzipSync(bytes).toString()),
                JSON.stringify(LaunchTemplateVersions),
                JSON.stringify(await ec2.send(new DescribeTagsCommand({}))),
                JSON.stringify(outputs),
            ].join("\n");
            assert.deepEqual(
                stored.filter(({ value }) => shown.includes(value)).map(({ name }) => name),
                [],
            );
        });

        it("changes nothing if nothing has changed, neither in a refresh nor in a preview", async () => {
            const { changes } = await engine("deploy");
            assert.equal(isChange(changes), false, JSON.stringify(changes));
            const preview = await engine("preview");
            assert.equal(isChange(preview.changes), false, JSON.stringify(preview.changes));
        });

        it("is previewed by the pipeline's script, with the committed stack, which creates nothing", async () => {
            const before = await environment.emulator.inventory();
            const report = await environment.previewAsPipeline();
            assert.match(report, /^### Preview of `aws-dev`\n\n\*\*Changes:\*\* \d+ to create\n/);
            assert.match(report, /would create aws-pool\n/);
            assert.deepEqual(await environment.emulator.inventory(), before);
        });

        it("rolls a change of the gateways, and no repeated call fails", async () => {
            const before = await pool.whole(size());
            config["gateway:service"].environment = { LOG_LEVEL: "debug" };
            const began = Date.now();
            let fewest = size();
            const watching = setInterval(async () => {
                const used = await Promise.all(pool.balancers.map((each) => pool.inRotation(each))).catch(() => []);
                fewest = Math.min(fewest, ...used.map(({ length }) => length));
            }, 500);
            const calls = await during(throughNlb(), async () => {
                const { changes } = await engine("deploy");
                assert.deepEqual(Object.keys(changes).sort(), ["same", "update"]);
                await pool.whole(
                    size(),
                    before.map(({ id }) => id),
                );
            }).finally(() => clearInterval(watching));
            record({ what: "rolling refresh of the gateways", whole: since(began), calls });
            assert.deepEqual(failuresOf(calls.repeated), []);
            assert.equal(fewest, size(), "enough gateways were always in rotation");
        });

        it("changes the pool's size", async () => {
            const before = await pool.whole(size());
            const began = Date.now();
            config["gateway:pool"].size = 3;
            const calls = await during(throughNlb(), async () => {
                await engine("deploy");
                const gateways = await pool.whole(size());
                for (const { id } of before)
                    assert.ok(
                        gateways.some((each) => each.id === id),
                        `${id} stays`,
                    );
            });
            record({ what: "from 2 gateways to 3", whole: since(began), calls });
            assert.deepEqual(failuresOf(calls.repeated), []);
            const { changes } = await engine("preview");
            assert.equal(isChange(changes), false, JSON.stringify(changes));
        });
    });

    describe("a gateway", () => {
        const faults: readonly [string, (gateway: Gateway) => Promise<unknown>][] = [
            ["is terminated", ({ id }) => terminate(environment, id)],
            ["loses its power", ({ host }) => host.powerOff()],
            ["is cut off", ({ host }) => host.cutOff()],
            ["is stopped (SIGSTOP)", ({ host }) => host.signal("gw-gateway.service", "SIGSTOP")],
            ["has a full disk", ({ host }) => host.fillDisk()],
        ];
        for (const [what, strike] of faults) {
            it(`${what}: a new instance takes its place`, async () => {
                const victim = await oldEnough(pool, size());
                let figures = { routed: 0, detected: 0, whole: 0 };
                const calls = await during(throughNlb(), async () => {
                    const began = Date.now();
                    await strike(victim);
                    const [routed, detected, whole] = await Promise.all([
                        notRouted(pool, victim).then(() => since(began)),
                        replacementBegan(environment, began).then(() => since(began)),
                        pool.whole(size(), [victim.id]).then(() => since(began)),
                    ]);
                    figures = { routed, detected, whole };
                });
                record({ what: `a gateway ${what}`, ...figures, calls });
                assert.deepEqual(failuresOf(calls.repeated), []);
            });
        }

        it("gets a spot interruption notice: it is drained and deregistered long before the two minutes are over", async () => {
            const victim = await oldEnough(pool, size());
            const began = Date.now();
            const ends = new Date(began + 2 * MINUTE);
            const whole = { at: 0 };
            const routed = { at: 0 };
            const calls = await during(throughNlb(), async () => {
                const time = `${ends.toISOString().slice(0, 19)}Z`;
                environment.metadata.tell(victim.address, {
                    "events/recommendations/rebalance": JSON.stringify({ noticeTime: new Date(began).toISOString() }),
                    "spot/instance-action": JSON.stringify({ action: "terminate", time }),
                });
                await environment.emulator.recommendRebalance(victim.id);
                await notRouted(pool, victim);
                routed.at = since(began);
                await waitFor(
                    "the gateway to have drained",
                    async () =>
                        (await victim.host.exec(["systemctl", "is-active", "gw-gateway"]).catch(() => "inactive")) ===
                        "inactive",
                    2 * MINUTE,
                    250,
                );
                assert.ok(Date.now() < ends.getTime(), "before the two minutes are over");
                await pool.whole(size(), [victim.id]);
                whole.at = since(began);
            });
            record({ what: "a spot interruption notice", routed: routed.at, whole: whole.at, calls });
            assert.deepEqual(failuresOf(calls.repeated), []);
            assert.deepEqual(failuresOf(calls.raw), []);
        });
    });

    describe("a machine outside the group", () => {
        it("a balancer loses its power and a Consul server is terminated: calls continue, and the next `up` replaces both", async () => {
            const [balancer, server] = [await pool.fixed("lb-1"), await pool.fixed("consul-2")];
            const voters = async () => (await raftServers(environment, pool)).filter(({ Voter }) => Voter);
            const old = (await voters()).find(({ Address }) => Address.startsWith(`${server.address}:`))?.ID;
            assert.ok(old);
            const nlb: { calls?: Calls } = {};
            const calls = await during(twoAddresses(), async () => {
                nlb.calls = await during(throughNlb(), async () => {
                    await balancer.host.powerOff();
                    await terminate(environment, server.id);
                    await waitFor("Consul to have a leader", () => hasLeader(pool), MINUTE, 250);
                    await healthOf(environment, balancer.id, false);
                });
                await terminate(environment, balancer.id);
                const { changes } = await engine("deploy");
                assert.ok((changes.create ?? 0) >= 2, JSON.stringify(changes));
                await pool.whole(size());
            });
            record({ what: "a balancer and a Consul server lost; a client of both balancers", calls });
            record({ what: "the same, a client of the network load balancer", calls: nlb.calls as Calls });
            assert.deepEqual(failuresOf(calls.repeated), []);

            const replaced = await pool.fixed("consul-2");
            assert.equal(replaced.address, server.address);
            await waitFor(
                "autopilot to have removed the dead server, and the new one to vote",
                async () => {
                    const now = await voters();
                    const fresh = now.find(({ Address }) => Address.startsWith(`${server.address}:`))?.ID;
                    if (now.length === 3 && fresh !== undefined && fresh !== old) return true;
                    throw new Error(JSON.stringify(now));
                },
                3 * MINUTE,
                500,
            );
            assert.equal((await raftServers(environment, pool)).length, 3);
        });

        it("a whole zone is cut off: calls continue", async () => {
            const zone = ZONES[1] as string;
            const inZone = (await pool.gateways()).filter((each) => each.zone === zone);
            assert.ok(inZone.length > 0, "there is a gateway in the zone");
            await oldEnough(pool, size(), zone);
            const instances = (await runningInstances(environment.emulator.clients)).filter(
                ({ Placement }) => Placement?.AvailabilityZone === zone,
            );
            const hosts = instances.map(({ InstanceId = "" }) => environment.fleet.hostOf(InstanceId));
            let figures = { routed: 0, detected: 0 };
            const cutOff = async () => {
                const began = Date.now();
                await Promise.all([...hosts.map((host) => host?.cutOff()), environment.balancer.cutOff(zone)]);
                const [detected, routed] = await Promise.all([
                    replacementBegan(environment, began).then(() => since(began)),
                    waitFor(
                        "the balancer that is left to use none of the zone",
                        async () =>
                            !(await pool.inRotation(pool.balancers[0] as string)).some((address) =>
                                inZone.some((gateway) => gateway.address === address),
                            ),
                        MINUTE,
                        100,
                    ).then(() => since(began)),
                ]);
                figures = { routed, detected };
                await waitFor("Consul to have a leader", () => hasLeader(pool), MINUTE, 250);
            };
            const nlb: { calls?: Calls } = {};
            const calls = await during(twoAddresses(), async () => {
                nlb.calls = await during(throughNlb(), cutOff);
            });
            record({ what: "a zone cut off; a client of both balancers", ...figures, calls });
            record({ what: "the same, a client of the network load balancer", calls: nlb.calls as Calls });
            await Promise.all([...hosts.map((host) => host?.reconnect()), environment.balancer.reconnect(zone)]);
            await pool.whole(
                size(),
                inZone.map(({ id }) => id),
            );
            assert.deepEqual(failuresOf(calls.repeated), []);
        });
    });

    describe("its end", () => {
        it("leaves nothing in the emulator", async () => {
            assert.deepEqual([...environment.fleet.failed], [], "every instance has booted");
            await engine("destroy");
            const instances = await runningInstances(environment.emulator.clients);
            assert.deepEqual(
                instances.map(({ InstanceId }) => InstanceId),
                [],
            );
            assert.deepEqual(await environment.emulator.inventory(), atStart);
        });
    });
});

/** Seconds since a moment. */
function since(moment: number): number {
    return (Date.now() - moment) / 1000;
}

/** Ends an instance at EC2, as an operator or AWS would. */
function terminate({ emulator }: Environment, id: string): Promise<unknown> {
    return emulator.clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
}

/**
 * Waits until the pool is complete, and the grace period of its oldest gateway is over, so that AutoScaling acts on its
 * health.
 */
async function oldEnough(pool: Pool, size: number, zone?: string): Promise<Gateway> {
    await pool.whole(size);
    const [oldest] = (await pool.gateways()).filter((each) => zone === undefined || each.zone === zone);
    assert.ok(oldest);
    const age = Environment.graceSeconds + 5;
    await waitFor("the end of its grace period", () => since(oldest.launchedAt) > age, (age + 10) * 1000, 250);
    return oldest;
}

/** Waits until no balancer sends calls to a gateway any more. */
function notRouted(pool: Pool, { address }: Gateway): Promise<unknown> {
    return waitFor(
        `no balancer to send calls to ${address}`,
        async () => {
            const used = await Promise.all(pool.balancers.map((balancer) => pool.inRotation(balancer)));
            return used.every((addresses) => !addresses.includes(address));
        },
        MINUTE,
        50,
    );
}

/** Waits until AutoScaling has started to create an instance, after a moment. */
function replacementBegan({ emulator }: Environment, moment: number): Promise<unknown> {
    return waitFor(
        "a replacement",
        async () => {
            const { Activities = [] } = await emulator.clients.scaling.send(new DescribeScalingActivitiesCommand({}));
            return Activities.some(
                ({ Description = "", StartTime }) =>
                    // The emulator gives whole seconds.
                    Description.startsWith("Launching") && (StartTime?.getTime() ?? 0) >= moment - 1000,
            );
        },
        2 * MINUTE,
        250,
    );
}

/** Waits until the network load balancer's checks find a machine healthy, or unhealthy. */
async function healthOf({ emulator }: Environment, id: string, well: boolean): Promise<void> {
    const { TargetGroups = [] } = await emulator.clients.balancing.send(new DescribeTargetGroupsCommand({}));
    await waitFor(
        `${id} to be ${well ? "healthy" : "unhealthy"}`,
        async () => {
            const states = await Promise.all(
                TargetGroups.map(async ({ TargetGroupArn }) => {
                    const answer = await emulator.clients.balancing.send(
                        new DescribeTargetHealthCommand({ TargetGroupArn }),
                    );
                    return answer.TargetHealthDescriptions?.find(({ Target }) => Target?.Id === id)?.TargetHealth
                        ?.State;
                }),
            );
            return states.some((state) => state === (well ? "healthy" : "unhealthy"));
        },
        MINUTE,
        250,
    );
}

/** Every secret of the deployment, as the emulator stores it. */
async function secretsOf({ emulator }: Environment): Promise<{ name: string; value: string }[]> {
    const found: { name: string; value: string }[] = [];
    let NextToken: string | undefined;
    do {
        const page = await emulator.clients.parameters.send(
            new GetParametersByPathCommand({ Path: "/", Recursive: true, WithDecryption: true, NextToken }),
        );
        for (const { Name = "", Value = "" } of page.Parameters ?? []) found.push({ name: Name, value: Value });
        NextToken = page.NextToken;
    } while (NextToken);
    // An accessor is a token's name, not the token.
    return found.filter(({ name, value }) => !name.endsWith("Accessor") && value.length >= 16);
}

/** Sends a request to a machine's Consul agent. */
async function consul<T>(host: Host, path: string, token = ""): Promise<T> {
    const header = token ? ["-H", `X-Consul-Token: ${token}`] : [];
    return JSON.parse(await host.exec(["curl", "-sf", ...header, `http://127.0.0.1:8500/v1/${path}`])) as T;
}

/** Whether the Consul server of the first zone knows a leader, which requires a quorum. */
async function hasLeader(pool: Pool): Promise<boolean> {
    return (await consul<string>((await pool.fixed("consul-0")).host, "status/leader")) !== "";
}

/** Consul's servers, as the server of the first zone sees them. */
async function raftServers(
    environment: Environment,
    pool: Pool,
): Promise<{ ID: string; Address: string; Voter: boolean }[]> {
    const secrets = await secretsOf(environment);
    const token = secrets.find(({ name }) => name.endsWith("/managementToken"))?.value ?? "";
    const { host } = await pool.fixed("consul-0");
    const { Servers } = await consul<{ Servers: { ID: string; Address: string; Voter: boolean }[] }>(
        host,
        "operator/raft/configuration",
        token,
    );
    return Servers;
}
