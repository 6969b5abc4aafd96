/** The reconciler's process, with a real HAProxy and servers behind it. */
import * as assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../lib/wait";
import type { HaproxyBalancerArgs } from "../../roles/loadBalancer/balancer";
import { toolPath } from "../../toolchain";
import { callOnce, FakeGateway, TestBalancer, Traffic, testNetwork } from "./support/balancer";

describe("the reconciler", function () {
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

    function balancer(args: Partial<HaproxyBalancerArgs> = {}): TestBalancer {
        const made = new TestBalancer(testNetwork()(21), haproxy, args);
        cleanups.push(() => made.stop());
        return made;
    }

    async function gateways(count: number): Promise<FakeGateway[]> {
        const network = testNetwork();
        const made = Array.from({ length: count }, (_, index) => new FakeGateway(network(1 + index)));
        for (const each of made) {
            await each.start();
            cleanups.push(() => each.kill());
        }
        return made;
    }

    const list = (...members: readonly (FakeGateway | undefined)[]) =>
        members.filter((each) => each !== undefined).map((each) => each.backend(`gw-${each.address}`));

    /** Names of the slots by address. */
    const slotsOf = async (lb: TestBalancer) =>
        Object.fromEntries(
            (await lb.servers()).filter(({ status }) => status !== "MAINT").map(({ name, address }) => [address, name]),
        );

    const alarmed = (lb: TestBalancer, what: RegExp) =>
        waitFor(`an alarm about ${what}`, () => lb.status().alarms.some((alarm) => what.test(alarm)), 4_000);

    const silent = (lb: TestBalancer) => waitFor("the alarms to be over", () => lb.status().alarms.length === 0, 4_000);

    it("adds, removes and replaces gateways without losing a call", async () => {
        const [a, b, c, d] = await gateways(4);
        const lb = balancer();
        await lb.start(...list(a, b));
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        let before = await slotsOf(lb);
        for (const next of [
            [a, b, c],
            [b, c],
            [b, d],
            [a, b, c, d],
            [a, c],
            [b, c],
        ]) {
            lb.write(list(...next));
            await lb.settled(list(...next));
            const after = await slotsOf(lb);
            for (const [key, slot] of Object.entries(after))
                assert.equal(before[key] ?? slot, slot, "who stays, stays put");
            before = after;
        }
        await traffic.stop();
        assert.deepEqual(traffic.failures, []);
        assert.ok(traffic.calls > 1_000, `there was traffic: ${traffic.calls} calls`);
    });

    it("sends a new gateway no calls before its checks have passed", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a));
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        b.health = "silence";
        lb.write(list(a, b));
        await waitFor("it to have been checked", async () => (await lb.server(b))?.status === "DOWN", 3_000);
        const { calls } = a;
        await waitFor("more calls", () => a.calls > calls + 500, 5_000);
        assert.equal(b.calls, 0);
        b.health = "reply";
        await lb.settled(list(a, b));
        // Again, for a slot that was used before: HAProxy remembers that its server was healthy.
        lb.write(list(a));
        await lb.settled(list(a));
        b.health = "silence";
        await waitFor("its slot to be free", async () => (await lb.server(b)) === undefined, 5_000);
        b.calls = 0;
        lb.write(list(a, b));
        await waitFor("it to be in a slot", () => lb.server(b), 3_000);
        await waitFor("more calls", () => a.calls > calls + 2_000, 8_000);
        assert.equal(b.calls, 0);
        await traffic.stop();
        assert.deepEqual(traffic.failures, []);
        assert.equal(b.early, 0);
    });

    it("completes the calls of a removed gateway, and puts it back into service while it still drains", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a));
        const client = lb.client();
        cleanups.push(() => client.close());
        await client.call();
        lb.write(list(a, b));
        await lb.settled(list(a, b));

        lb.write(list(b));
        await waitFor("it to drain", async () => (await lb.server(a))?.status === "DRAIN", 3_000);
        await waitFor("the status to say so", () => lb.status().draining.length === 1, 3_000);
        const { calls } = a;
        for (let i = 0; i < 5; i++) await callOnce(lb.address, 9190);
        assert.equal(a.calls, calls, "no new connection");
        await client.call();
        assert.equal(a.calls, calls + 1, "the old connection lives on");

        lb.write(list(a, b));
        await lb.settled(list(a, b));
        await client.call();

        lb.write(list(b));
        await waitFor("it to drain", async () => (await lb.server(a))?.status === "DRAIN", 3_000);
        client.close();
        await lb.settled(list(b));
        await a.kill();
        await waitFor("its slot to be free", async () => (await lb.server(a)) === undefined, 5_000);
    });

    it("ends remaining connections after the longest drain, even if it was restarted meanwhile", async () => {
        const [a, b] = await gateways(2);
        const lb = balancer({ drainSeconds: 2 });
        await lb.start(...list(a));
        const client = lb.client();
        cleanups.push(() => client.close());
        await client.call();
        lb.write(list(a, b));
        await lb.settled(list(a, b));
        lb.write(list(b));
        await waitFor("the drain", () => lb.status().draining.length === 1, 3_000);
        await lb.reconciler?.stop();
        assert.ok(!client.closed);
        lb.startReconciler();
        await waitFor("the connection to be ended", () => client.closed, 5_000);
        await lb.settled(list(b));
    });

    it("refuses an empty list and keeps the last good one, even after a restart", async () => {
        const [a, b] = await gateways(2);
        const lb = balancer();
        await lb.start(...list(a, b));
        lb.write([]);
        await alarmed(lb, /is empty and refused/);
        await lb.reconciler?.stop();
        lb.startReconciler();
        await alarmed(lb, /is empty and refused/);
        await lb.settled(list(a, b));
        await callOnce(lb.address, 9190);
        lb.write(list(b));
        await lb.settled(list(b));
        await silent(lb);
    });

    it("refuses a malformed list and keeps the last good one", async () => {
        const [a, b] = await gateways(2);
        const lb = balancer();
        await lb.start(...list(a, b));
        for (const bad of ["", "[", "{}", "null"]) {
            lb.write(bad);
            await alarmed(lb, /is refused, the last good list stays/);
            await lb.settled(list(a, b));
            lb.write(list(a, b));
            await silent(lb);
        }
    });

    it("leaves out entries that are malformed or outside of the gateways' networks, and no others", async () => {
        const [a, b, c] = await gateways(3);
        assert.ok(a && b && c);
        const lb = balancer({ networks: ["127.0.0.0/8"] });
        await lb.start(...list(a, b));
        lb.write(JSON.stringify([...list(a), { id: "evil", address: "198.51.100.7", port: 9190 }, 1, ...list(b, c)]));
        await alarmed(lb, /entry 1: evil has the address 198\.51\.100\.7.*entry 2: not an object/);
        await lb.settled(list(a, b, c));
        lb.write(list(a, b));
        await lb.settled(list(a, b));
        await silent(lb);
    });

    it("keeps gateways that answer when the registry loses most of them, until it has them again", async () => {
        const [a, b, c, d] = await gateways(4);
        assert.ok(a && b && c && d);
        const lb = balancer();
        await lb.start(...list(a, b, c, d));
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        for (const left of [[b, c, d], [c, d], [d]]) {
            lb.write(list(...left));
            await waitFor("the list to be read", () => lb.status().backends.length === left.length, 3_000);
        }
        await alarmed(lb, /lost most of the gateways, but HAProxy finds them well/);
        await waitFor(
            "all to serve",
            async () => {
                const servers = await lb.servers();
                return servers.filter(({ status }) => status.startsWith("UP")).length === 4;
            },
            3_000,
        );
        const calls = [a, b, c, d].map((each) => each.calls);
        await waitFor("calls at each", () => [a, b, c, d].every((each, i) => each.calls > (calls[i] ?? 0)), 5_000);
        // What does not answer is not kept.
        await a.kill();
        await waitFor("the dead one to be gone", async () => (await lb.server(a)) === undefined, 5_000);
        lb.write(list(b, c, d));
        await lb.settled(list(b, c, d));
        await silent(lb);
        await traffic.stop();
        assert.deepEqual(
            traffic.failures.filter((failure) => !/reset|closed/i.test(String(failure))),
            [],
        );
    });

    it("leaves out gateways for which there is no slot, and adds them once there is one", async () => {
        const members = await gateways(17);
        const lb = balancer();
        await lb.start(...list(...members.slice(0, 16)));
        lb.write(list(...members));
        await alarmed(lb, /no free slot among 16 for gw-/);
        await lb.settled(list(...members.slice(0, 16)));
        lb.write(list(...members.slice(1)));
        await lb.settled(list(...members.slice(1)));
        await silent(lb);
    });

    it("keeps the slot of a gateway that died and returns at the same address under another name", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a, b));
        const before = await slotsOf(lb);
        await a.kill();
        await waitFor("it to be down", async () => (await lb.server(a))?.status === "DOWN", 4_000);
        await a.start();
        lb.write([a.backend("another"), ...list(b)]);
        await lb.settled(list(a, b));
        assert.deepEqual(await slotsOf(lb), before);
    });

    it("ends only the connections of a gateway that no longer answers", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a));
        const stuck = lb.client();
        cleanups.push(() => stuck.close());
        await stuck.call();
        lb.write(list(b));
        await waitFor(
            "the next connection to go to the other",
            async () => (await lb.server(b))?.status === "UP",
            4_000,
        );
        const other = lb.client();
        cleanups.push(() => other.close());
        await other.call();
        lb.write(list(a, b));
        await lb.settled(list(a, b));
        a.health = "silence";
        await waitFor("the connection to be ended", () => stuck.closed, 5_000);
        assert.equal((await lb.server(a))?.status, "DOWN");
        assert.ok(!other.closed);
        await other.call();
    });

    it("loses no call to a server that refuses connections, not even the one that marks it down", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a, b));
        await a.kill();
        for (let call = 0; call < 20; call++) await callOnce(lb.address, 9190);
        assert.equal((await lb.server(a))?.status, "DOWN");
    });

    it("loses no call when it is killed with SIGKILL, and continues where it was", async () => {
        const [a, b, c] = await gateways(3);
        const lb = balancer();
        await lb.start(...list(a, b));
        const before = await slotsOf(lb);
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        await lb.reconciler?.stop("SIGKILL");
        lb.write(list(a, b, c));
        lb.startReconciler();
        await lb.settled(list(a, b, c));
        await traffic.stop();
        assert.deepEqual(traffic.failures, []);
        const after = await slotsOf(lb);
        assert.deepEqual({ ...after, ...before }, after, "those that were there are where they were");
    });

    it("completes a change in the middle of which it was killed", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a));
        await lb.reconciler?.stop("SIGKILL");
        b.health = "silence";
        // The first half of putting a gateway into a slot. HAProxy considers it healthy now.
        await lb.runtime.ask(`set server gateways/gw2 addr ${b.address} port ${b.port}`);
        await lb.runtime.ask("set server gateways/gw2 state drain");
        lb.write(list(a, b));
        lb.startReconciler();
        for (let i = 0; i < 50; i++) await callOnce(lb.address, 9190);
        await waitFor("it to be found down", async () => /^DOWN/.test((await lb.server(b))?.status ?? ""), 4_000);
        assert.equal(b.calls, 0);
        b.health = "reply";
        await lb.settled(list(a, b));
    });

    it("gives a restarted HAProxy its slots at once, from the last good list", async () => {
        const [a, b, c] = await gateways(3);
        assert.ok(a && b && c);
        const lb = balancer();
        await lb.start(...list(a, b, c));
        await a.kill();
        lb.write(list(c, b));
        await lb.settled(list(b, c));
        await waitFor("its slot to be free", async () => (await lb.server(a)) === undefined, 5_000);
        c.health = "silence";
        await waitFor("the reconciler to know one to be down", () => lb.status().serving.length === 1, 4_000);
        const before = await slotsOf(lb);
        // The program that writes the list may be dead as well.
        rmSync(join(lb.directory, "run/backends.json"));
        await lb.haproxy?.stop("SIGKILL");
        await waitFor("the alarm", () => lb.status().haproxy === undefined, 3_000);
        b.passes = 0;
        await lb.startHaproxy();
        await waitFor("its slots", async () => Object.keys(await slotsOf(lb)).length === 2, 3_000, 5);
        await callOnce(lb.address, 9190);
        assert.equal(b.early, 1, "what was healthy does not wait for checks");
        assert.deepEqual(await slotsOf(lb), before);
        assert.match((await lb.server(c))?.status ?? "", /^DOWN/, "what was not proves itself first");
        await silent(lb);
    });

    it("gives a restarted balancer its slots, from its memory", async () => {
        const [a, b, c] = await gateways(3);
        assert.ok(a);
        const lb = balancer();
        await lb.start(...list(a, b, c));
        await a.kill();
        lb.write(list(c, b));
        await lb.settled(list(b, c));
        await waitFor("its slot to be free", async () => (await lb.server(a)) === undefined, 5_000);
        const before = await slotsOf(lb);
        await Promise.all([lb.haproxy?.stop("SIGKILL"), lb.reconciler?.stop("SIGKILL")]);
        rmSync(join(lb.directory, "run/backends.json"));
        await lb.startHaproxy();
        lb.startReconciler();
        await lb.settled(list(b, c));
        assert.deepEqual(await slotsOf(lb), before);
    });

    it("keeps a gateway that left while no other gateway serves", async () => {
        const [a, b] = await gateways(2);
        assert.ok(a && b);
        const lb = balancer();
        await lb.start(...list(a));
        const traffic = new Traffic(lb);
        cleanups.push(() => traffic.stop());
        b.health = "silence";
        lb.write(list(b));
        await waitFor("the new one to have been checked", async () => (await lb.server(b))?.status === "DOWN", 4_000);
        const { calls } = a;
        await waitFor("more calls", () => a.calls > calls + 200, 4_000);
        b.health = "reply";
        await lb.settled(list(b));
        await traffic.stop();
        assert.deepEqual(traffic.failures, []);
    });

    it("does not limit the only gateway by the slow start", async () => {
        const [a] = await gateways(1);
        const lb = balancer();
        await lb.start(...list(a));
        const clients = Array.from({ length: 50 }, () => lb.client());
        cleanups.push(() => {
            for (const client of clients) client.close();
        });
        await Promise.all(clients.map((client) => client.call()));
    });

    it("works without inotify, and says so once", async () => {
        // In a namespace that may have no inotify instance, as when other programs have used up the user's.
        const none = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"';
        const [a, b] = await gateways(2);
        const lb = balancer();
        lb.write(list(a));
        await lb.startHaproxy();
        lb.startReconciler(["unshare", "--user", "--map-current-user", "sh", "-c", none, "sh"]);
        await lb.settled(list(a));
        lb.write(list(a, b));
        await lb.settled(list(a, b));
        assert.equal(lb.reconciler?.log.match(/cannot watch .*EMFILE/g)?.length, 1);
    });

    it("starts with a damaged memory and logs it", async () => {
        const [a] = await gateways(1);
        const lb = balancer();
        writeFileSync(join(lb.directory, "lib/reconciler.json"), "{");
        await lb.start(...list(a));
        assert.match(lb.reconciler?.log ?? "", /alarm lib\/reconciler.json is damaged/);
    });

    it("ends with exit code 0 on SIGTERM", async () => {
        const [a] = await gateways(1);
        const lb = balancer();
        await lb.start(...list(a));
        assert.equal(await lb.reconciler?.stop("SIGTERM"), 0);
        await callOnce(lb.address, 9190);
    });
});
