import * as assert from "node:assert/strict";
import { parseHaproxyStatus } from "../../../clients/balancerStatus";
import { type Load, type Report, startLoad } from "../../../gateway-sample/load";
import { waitFor } from "../../../lib/wait";
import { addressOf, roleOf, type Server, serversOf } from "./support/cloud";
import { Environment, POLICY, VIP } from "./support/environment";
import { makeCredential, removeCredential } from "./support/fixtures";
import { Loop } from "./support/loop";
import { requirements } from "./support/requirements";

const startedAt = Date.now();
const say = (line: string) => console.log(`      ${((Date.now() - startedAt) / 1000).toFixed(1)} s  ${line}`);
const now = () => Date.now() / 1000;

/** Calls through the deployment during an operation: some tried once, others repeated by the client library. */
class Calls {
    private readonly raw = this.start(true);
    private readonly repeated = this.start(false);

    private start(raw: boolean): Load {
        return startLoad({ addresses: [`${VIP}:9190`], ratePerSecond: 20, deadlineMs: 5_000, raw });
    }

    /** Waits until this many calls have started. */
    async made(count: number): Promise<void> {
        await waitFor("calls to be made", () => this.repeated.live.started >= count, 60_000);
    }

    async end(): Promise<{ readonly raw: Report; readonly repeated: Report }> {
        const [raw, repeated] = await Promise.all([this.raw.stop(), this.repeated.stop()]);
        const lost = ({ started, failed }: Report) => `${failed} of ${started}`;
        say(`calls failed: ${lost(raw)} tried once, ${lost(repeated)} repeated`);
        for (const { error } of repeated.failures.slice(0, 3)) say(`  ${error}`);
        return { raw, repeated };
    }
}

describe("target openstack, end to end", function () {
    this.timeout(900_000);
    this.bail(true);
    let environment: Environment;
    let loop: Loop;
    let calls: Calls | undefined;

    before(async function () {
        const missing = await requirements.missing();
        if (missing.length > 0) {
            console.log(`      skipped, missing: ${missing.join("; ")}`);
            this.skip();
        }
        environment = await Environment.open(say);
        loop = new Loop(environment);
    });

    afterEach(async function () {
        // A failed test has not ended its load.
        await calls?.end();
        calls = undefined;
        if (this.currentTest?.state !== "failed") return;
        for (const machine of ["consul-0", "consul-1", "consul-2"]) {
            const host = await environment.host(machine).catch(() => undefined);
            const journal = await host?.journal("gw-replacer").catch((error: Error) => error.message);
            say(`${machine}: ${journal?.split("\n").slice(-25).join("\n")}`);
        }
    });

    after(async () => environment?.close());

    /** Each balancer's view of the pool: both must send calls to all servers. */
    const isWhole = async (size: number) => {
        for (const balancer of ["198.18.30.21", "198.18.30.22"]) {
            const page = await (await fetch(`http://${balancer}:9192/;csv`)).text();
            const up = [...parseHaproxyStatus(page, "gateways", balancer).values()].filter(
                (state) => state === "up",
            ).length;
            if (up !== size) throw new Error(`${balancer} sends calls to ${up} of ${size}`);
        }
        return true;
    };
    const whole = (size: number, timeout = 120_000) =>
        waitFor("both balancers to use the whole pool", () => isWhole(size), timeout, 250);
    const gateways = async () => {
        const servers = [...(await environment.servers()).values()].filter((each) => roleOf(each).startsWith("gw-"));
        return servers.sort((a, b) => (roleOf(a) < roleOf(b) ? -1 : 1));
    };
    const names = (servers: readonly Server[]) => servers.map(roleOf);

    /** The figures of a replacement after an event at `time`. */
    async function figures(slot: string, time: number, size: number): Promise<void> {
        const { report } = await loop.replaced(slot, time);
        await whole(size);
        const recovered = now() - time;
        const decided = await loop.decidedAfter(slot, time);
        // Nova gives whole seconds.
        const posted = Date.parse((await environment.server(slot)).created) / 1000 - time - decided;
        const { preview, replace = 0 } = report.seconds;
        say(
            `${slot}: decided after ${decided.toFixed(1)} s, previewed in ${preview.toFixed(1)} s, ` +
                `asked Nova for the new one ${posted.toFixed(0)} s after the decision, ` +
                `replaced in ${replace.toFixed(1)} s, complete again after ${recovered.toFixed(1)} s`,
        );
    }

    it("is deployed: machines have their addresses, and answer calls at the shared one", async () => {
        const { outputs } = await environment.engine("deploy");
        const servers = await environment.servers();
        const expected = ["consul-0", "consul-1", "consul-2", "gw-0", "gw-1", "lb-0", "lb-1"];
        assert.deepEqual([...servers.keys()].sort(), expected);
        assert.equal(addressOf(await environment.server("gw-1")), "198.18.30.51");
        assert.match(JSON.stringify(outputs.openstack), /198\.19\.0\.\d+:9190/);
        await whole(2);
        calls = new Calls();
        await calls.made(60);
        const { repeated } = await calls.end();
        calls = undefined;
        assert.equal(repeated.failed, 0);
    });

    it("runs the loop on three machines, of which one leads, and the loop is free to act", async () => {
        const leader = await loop.leader();
        await loop.settled(2);
        const secrets = ["a passphrase of the test's", environment.loopCredential.secret];
        for (const machine of ["consul-0", "consul-1", "consul-2"]) {
            const host = await environment.host(machine);
            const health = await loop.health(host);
            assert.equal(health?.healthy, true, machine);
            assert.equal(health?.role, host === leader ? "leader" : "standby");
            const open = `${await host.exec(["ps", "-ef"])}${await host.journal()}${host.console}`;
            for (const secret of secrets) assert.ok(!open.includes(secret), `${machine} shows a secret`);
            const files = await host.exec(["find", "/etc/gateway/replacer", "-type", "f", "-perm", "/077"]);
            assert.equal(files, "/etc/gateway/replacer/ca.pem", "what others may read");
        }
        const memory = await leader.exec(["sh", "-c", "ps -o rss= -C node | sort -n | tail -1"]);
        say(`the leader's daemon has ${(Number(memory) / 1024).toFixed(0)} MiB`);
        assert.match(await loop.command("status"), /Consul {4}has a leader/);
    });

    it("previews and deploys no change if nothing was changed", async () => {
        const before = (await gateways()).map(({ id }) => id);
        const { changes } = await environment.engine("deploy");
        assert.deepEqual(Object.keys(changes), ["same"]);
        assert.deepEqual(
            (await gateways()).map(({ id }) => id),
            before,
        );
    });

    it("rolls a change of the gateways one at a time, and no repeated call fails", async () => {
        const before = (await gateways()).map(({ id }) => id);
        await loop.settled(2);
        calls = new Calls();
        const begun = now();
        const service = { name: "gateway-sample", port: 9190, install: { kind: "sample" }, maxConnections: 1000 };
        const more = { healthCheck: { kind: "thrift", method: "ping", framed: false }, stopTimeoutSeconds: 20 };
        environment.changes = { "gateway:service": { ...service, ...more, environment: { STEP: "2" } } };
        await environment.engine("deploy");
        await whole(2);
        const { repeated } = await calls.end();
        calls = undefined;
        say(`two gateways rolled in ${(now() - begun).toFixed(1)} s`);
        const after = await gateways();
        assert.deepEqual(names(after), ["gw-0", "gw-1"]);
        assert.ok(after.every(({ id }) => !before.includes(id)));
        assert.deepEqual(after.map(addressOf), ["198.18.30.50", "198.18.30.51"]);
        assert.equal(repeated.failed, 0);
        assert.deepEqual(await loop.since(begun, "action"), [], "the loop left the operator's change alone");
    });

    it("grows and shrinks without touching the other machines", async () => {
        const before = (await gateways()).map(({ id }) => id);
        await environment.engine("deploy", { "gateway:pool": { size: 5 } });
        await whole(5);
        assert.deepEqual(
            (await gateways()).slice(0, 2).map(({ id }) => id),
            before,
        );
        await loop.settled(5);
        calls = new Calls();
        await environment.engine("deploy", { "gateway:pool": { size: 2 } });
        await whole(2);
        const { repeated } = await calls.end();
        calls = undefined;
        assert.deepEqual(
            (await gateways()).map(({ id }) => id),
            before,
        );
        assert.equal(repeated.failed, 0);
    });

    it("replaces a server that was deleted behind its back, at the same address", async () => {
        await loop.settled(2);
        const [, victim] = await gateways();
        assert.ok(victim);
        calls = new Calls();
        const time = now();
        await environment.admin.ask("compute", "DELETE", `/servers/${victim.id}`);
        await figures("gw-1", time, 2);
        const { repeated } = await calls.end();
        calls = undefined;
        const after = await environment.server("gw-1");
        assert.notEqual(after.id, victim.id);
        assert.equal(addressOf(after), addressOf(victim));
        assert.ok(Number(after.metadata["gateway-epoch"]) > 0, "it bears the leader's epoch");
        assert.equal(repeated.failed, 0);
        const { changes } = await environment.engine("preview");
        assert.deepEqual(Object.keys(changes), ["same"], "the state is true");
    });

    it("replaces a machine without power, although Nova says that it is active", async () => {
        await loop.settled(2);
        const [victim] = await gateways();
        assert.ok(victim);
        calls = new Calls();
        const time = now();
        await (await environment.host("gw-0")).powerOff();
        await figures("gw-0", time, 2);
        const { repeated } = await calls.end();
        calls = undefined;
        assert.notEqual((await environment.server("gw-0")).id, victim.id);
        assert.ok((await loop.decidedAfter("gw-0", time)) >= POLICY.softSeconds);
        assert.equal(repeated.failed, 0);
    });

    it("freezes when all gateways hang at once, and deletes none", async () => {
        await loop.settled(2);
        const before = (await gateways()).map(({ id }) => id);
        const hosts = await Promise.all(["gw-0", "gw-1"].map((slot) => environment.host(slot)));
        const time = now();
        await Promise.all(hosts.map((host) => host.signal("gw-gateway.service", "SIGSTOP")));
        const frozen = async () => {
            const { snapshot } = await loop.status();
            const massLoss = snapshot?.decision.pool.find(({ gate }) => gate === "massLoss");
            const soft = snapshot?.decision.slots.every(({ condition }) => condition === "lost");
            return soft && massLoss?.passed === false && now() - time > 2 * POLICY.softSeconds;
        };
        await waitFor("the loop to be frozen for longer than evidence takes", frozen, 120_000, 1_000);
        await Promise.all(hosts.map((host) => host.signal("gw-gateway.service", "SIGCONT")));
        await whole(2);
        assert.deepEqual(
            (await gateways()).map(({ id }) => id),
            before,
        );
        assert.deepEqual(await loop.since(time, "action"), []);
    });

    it("leaves one server in the slot when the leader is killed in the middle of a replacement", async () => {
        await loop.settled(2);
        const [, victim] = await gateways();
        assert.ok(victim);
        const leader = await loop.leader();
        const time = now();
        await environment.admin.ask("compute", "POST", `/servers/${victim.id}/action`, {
            "os-resetState": { state: "error" },
        });
        // The old server is gone, and the new one is being created.
        await waitFor(
            "the replacement to be in progress",
            async () => !(await serversOf(environment.admin)).some(({ id }) => id === victim.id),
            240_000,
            100,
        );
        await leader.signal("gw-replacer.service", "SIGKILL");
        say(`killed the leader ${(now() - time).toFixed(1)} s after the server failed`);
        await whole(2, 400_000);
        await loop.settled(2, 400_000);
        say(`complete again ${(now() - time).toFixed(1)} s after the server failed`);
        assert.deepEqual(names(await gateways()), ["gw-0", "gw-1"]);
        assert.notEqual((await environment.server("gw-1")).id, victim.id);
        const steps = (await loop.since(time, "recovery")).map(({ step }) => step.kind);
        say(`recovery: ${steps.join(", ") || "nothing to do"}`);
        assert.deepEqual(await environment.loosePorts(), []);
        const { changes } = await environment.engine("preview");
        assert.deepEqual(Object.keys(changes), ["same"], "the state is true");
    });

    const shortages: readonly [string, (scarce: boolean) => Promise<void>][] = [
        ["the quota is used up", (scarce) => environment.setServerQuota(scarce ? 6 : 100)],
        ["there is no valid host", (scarce) => environment.setHypervisors(!scarce)],
    ];
    for (const [what, make] of shortages) {
        it(`tries once per hold if ${what}, and continues when that is over`, async () => {
            await loop.settled(2);
            const victim = await environment.server("gw-0");
            await make(true);
            const time = now();
            await environment.admin.ask("compute", "DELETE", `/servers/${victim.id}`);
            const refused = async () =>
                (await loop.since(time, "action")).some(({ report }) => report.outcome.kind !== "done");
            await waitFor("the loop to notice it", refused, 240_000, 1_000);
            const told = now();
            await waitFor("a hold to pass", () => now() - told > POLICY.holdSeconds, 120_000, 1_000);
            const tries = await loop.since(time, "action");
            for (const { report } of tries) say(`${JSON.stringify(report.outcome).slice(0, 200)}`);
            assert.ok(tries.length <= 1 + Math.ceil((now() - time) / POLICY.holdSeconds), `${tries.length} tries`);
            await make(false);
            await loop.replaced("gw-0", time);
            await whole(2);
            assert.deepEqual(names(await gateways()), ["gw-0", "gw-1"]);
            assert.deepEqual(await environment.loosePorts(), []);
        });
    }

    it("says what to do if an application credential is no longer valid", async () => {
        const expired = await makeCredential(environment.operator, "expired");
        await removeCredential(environment.operator, expired);
        await assert.rejects(environment.engine("preview", {}, expired), /credential/i);
    });

    it("puts the cloud's load balancer in front of the balancers, if configured", async () => {
        await loop.settled(2);
        const before = (await gateways()).map(({ id }) => id);
        environment.changes = { ...environment.changes, "gateway:openstack": { frontend: { kind: "octavia" } } };
        await environment.engine("deploy");
        await whole(2);
        const [balancer, ...others] = await environment.loadBalancers();
        assert.deepEqual(others, []);
        assert.deepEqual([balancer?.address, balancer?.provisioning_status], ["198.18.30.49", "ACTIVE"]);
        const [listener] = balancer?.listeners ?? [];
        const members = listener?.pools.flatMap((pool) => pool.members) ?? [];
        assert.deepEqual(members.map((each) => `${each.address}:${each.protocol_port}`).sort(), [
            "198.18.30.21:9190",
            "198.18.30.22:9190",
        ]);
        const states = [listener, ...(listener?.pools ?? []), ...members].map((each) => each?.provisioning_status);
        assert.deepEqual([...new Set(states)], ["ACTIVE"]);
        assert.deepEqual(
            (await gateways()).map(({ id }) => id),
            before,
        );
        const { changes } = await environment.engine("preview");
        assert.deepEqual(Object.keys(changes), ["same"]);
    });

    it("is destroyed, and leaves nothing behind", async () => {
        await loop.command("pause", "--reason=the end");
        await environment.engine("destroy");
        await waitFor("the servers to go", async () => (await serversOf(environment.admin)).length === 0, 60_000);
        assert.deepEqual(await environment.leftovers(), []);
    });
});
