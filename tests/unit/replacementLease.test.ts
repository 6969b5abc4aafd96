import assert from "node:assert/strict";
import { MemoryLocks } from "../../replacement/leaderLocks";
import { type Lease, type LeaseEvent, type Locks, lead, leaseTimes } from "../../replacement/lease";
import { Process, START, Timeline } from "../simulation/timeline";

/** Daemons that want to lead, on one timeline. */
function setUp(count: number) {
    const timeline = new Timeline();
    const locks = new MemoryLocks(() => timeline.now);
    const stop = new AbortController();
    const daemons = Array.from({ length: count }, (_, at) => {
        const process = new Process(timeline, `d${at}`);
        const events: (LeaseEvent & { at: number })[] = [];
        const leases: Lease[] = [];
        let failing = false;
        let latency = 0.01;
        const service = Object.fromEntries(
            Object.entries(locks.service).map(([name, does]) => [
                name,
                async (...given: never[]) => {
                    if (failing) {
                        await process.wait(0.01);
                        throw new Error("no answer");
                    }
                    const result = await (does as (...all: never[]) => Promise<unknown>)(...given);
                    await process.wait(latency);
                    return result;
                },
            ]),
        ) as unknown as Locks;
        const parts = {
            locks: service,
            clock: process.clock,
            holder: { host: `d${at}`, pid: at },
            signal: stop.signal,
            tell: (event: LeaseEvent) => void events.push({ ...event, at: timeline.now - START }),
        };
        const running = lead(parts, async (lease) => {
            leases.push(lease);
            await new Promise<void>((resolve) => {
                const end = () => resolve();
                lease.lost.addEventListener("abort", end);
                stop.signal.addEventListener("abort", end);
            });
        });
        const fail = (how: boolean) => {
            failing = how;
        };
        const slow = (seconds: number) => {
            latency = seconds;
        };
        const kinds = () => events.map(({ kind }) => kind);
        return { process, events, leases, running, fail, slow, kinds };
    });
    const until = (second: number) => timeline.run(() => timeline.now >= START + second);
    // Something always happens, so that time goes on.
    const tick = () => void timeline.after(0.5, tick);
    tick();
    return { timeline, locks, stop, daemons, until };
}

describe("the leader's lease", () => {
    it("goes to one daemon at once, and stays with it as long as it renews", async () => {
        const { daemons, until, locks } = setUp(3);
        await until(1);
        const leading = daemons.filter(({ leases }) => leases.length > 0);
        assert.equal(leading.length, 1);
        await until(300);
        assert.deepEqual(daemons.map(({ leases }) => leases.length).sort(), [0, 0, 1]);
        assert.equal(locks.epoch, 1);
        assert.equal(leading[0]?.leases[0]?.holds(), true);
    });

    it("ends 10 s after the last renewal that succeeded was sent, before anybody else can lead", async () => {
        const { daemons, until } = setUp(2);
        await until(12);
        const first = daemons.find(({ leases }) => leases.length > 0);
        const other = daemons.find((daemon) => daemon !== first);
        assert.ok(first && other);
        // Renewals are sent at 0, 5 and 10 s; the one at 15 s and all after it fail.
        first.fail(true);
        await until(19.4);
        assert.deepEqual(first.kinds(), ["elected"]);
        await until(20.6);
        assert.deepEqual(first.kinds(), ["elected", "lost"]);
        assert.equal(first.leases[0]?.lost.aborted, true);
        await until(70);
        const lost = first.events.find(({ kind }) => kind === "lost");
        const elected = other.events.find(({ kind }) => kind === "elected");
        assert.ok(lost && elected && elected.at >= 10 + leaseTimes.ttl + leaseTimes.lockDelay, JSON.stringify(elected));
        assert.equal(other.leases[0]?.epoch, 2);
        first.fail(false);
        await until(80);
        assert.equal(first.events.at(-1)?.kind, "standby");
    });

    it("is kept over slow answers, and counts from when a renewal was sent", async () => {
        const { daemons, until } = setUp(1);
        const [daemon] = daemons as [(typeof daemons)[0]];
        await until(2);
        daemon.slow(4);
        await until(101);
        assert.deepEqual(daemon.kinds(), ["elected"]);
        // Renewals are sent every 5 s, so the last one that succeeds at 100 s; its answer comes 4 s later.
        daemon.fail(true);
        await until(109.4);
        assert.deepEqual(daemon.kinds(), ["elected"]);
        await until(110.6);
        assert.deepEqual(daemon.kinds(), ["elected", "lost"]);
    });

    it("does not hold in a process that was stopped, before any of its timers has fired", async () => {
        const { daemons, until, timeline } = setUp(1);
        await until(3);
        const [{ process, leases }] = daemons as [(typeof daemons)[0]];
        process.stopped = true;
        await until(30);
        assert.equal(leases[0]?.lost.aborted, false, "nothing has run in it");
        assert.equal(leases[0]?.holds(), false);
        assert.equal(leases[0]?.lost.aborted, true);
        timeline.resume(process);
    });

    it("does not hold when either clock says that it is too long ago", async () => {
        for (const jumps of ["now", "elapsed"] as const) {
            const locks = new MemoryLocks(() => 0);
            const clock = { now: 1000, elapsed: 5 };
            const stop = new AbortController();
            await lead(
                {
                    locks: locks.service,
                    clock: {
                        now: () => clock.now,
                        elapsed: () => clock.elapsed,
                        sleep: (_, signal) =>
                            new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
                    },
                    holder: { host: "a", pid: 1 },
                    signal: stop.signal,
                },
                async (lease) => {
                    assert.equal(lease.holds(), true);
                    clock[jumps] += leaseTimes.stopAfter;
                    assert.equal(lease.holds(), false);
                    stop.abort();
                },
            );
        }
    });

    it("ends at once when the session has", async () => {
        const { daemons, until, locks } = setUp(2);
        await until(7);
        assert.ok(locks.holder);
        locks.invalidate(locks.holder);
        await until(10.5);
        assert.equal(daemons.flatMap(({ events }) => events).filter(({ kind }) => kind === "lost").length, 1);
        await until(40);
        assert.equal(locks.epoch, 2);
    });

    it("is handed over at once by a daemon that is told to stop", async () => {
        const { daemons, until, locks, stop } = setUp(1);
        await until(2);
        stop.abort();
        await until(4);
        await Promise.all(daemons.map(({ running }) => running));
        assert.equal(locks.holder, undefined);
        assert.deepEqual(daemons[0]?.kinds(), ["elected", "released"]);
        assert.equal(await locks.service.acquire(await locks.service.open(), { host: "b", pid: 2 }), 2);
    });

    it("is revoked once when a write says that another one leads", async () => {
        const { daemons, until } = setUp(1);
        await until(2);
        daemons[0]?.leases[0]?.revoke("a write was refused");
        daemons[0]?.leases[0]?.revoke("again");
        await until(3);
        const lost = daemons[0]?.events.filter(({ kind }) => kind === "lost");
        assert.deepEqual(
            lost?.map((event) => event.kind === "lost" && event.reason),
            ["a write was refused"],
        );
    });
});
