import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
    AllAddressesFailed,
    CallFailed,
    ClientClosed,
    type ClientOptions,
    createClient,
    DeadlineExceeded,
    OutcomeUnknown,
    parseAddress,
    type ServiceClient,
    TooManyCalls,
} from "../../gateway-sample/client";
import { AddressBook } from "../../gateway-sample/client/address";
import * as GatewayApi from "../../gateway-sample/gen/GatewayApi";
import { type LoadOptions, startLoad } from "../../gateway-sample/load";
import { type RunningServer, type ServerOptions, startServer } from "../../gateway-sample/server/server";
import { markLast } from "../../gateway-sample/wire/lastReply";

describe("gateway sample: client", () => {
    const opened: { close(): unknown }[] = [];
    afterEach(async () => {
        for (const each of opened.splice(0)) await each.close();
    });

    /** A load that stops with the test in any case. */
    function load(options: LoadOptions) {
        const started = startLoad(options);
        opened.push({ close: () => started.stop() });
        return started;
    }

    async function serve(options: ServerOptions = {}): Promise<RunningServer> {
        const server = await startServer({ port: 0, ...options });
        opened.push(server);
        return server;
    }

    function client(
        addresses: string[],
        options: Omit<ClientOptions<GatewayApi.Client>, "addresses"> = {},
    ): ServiceClient<GatewayApi.Client> {
        const made = createClient(GatewayApi, { addresses, idempotent: ["ping", "echo", "sleep"], ...options });
        opened.push(made);
        return made;
    }

    /** A server that calls `onData` for received data, and counts these calls. */
    async function listen(onData: (socket: Socket, data: Buffer) => void) {
        const sockets = new Set<Socket>();
        const seen = { address: "", received: 0 };
        const listener = createServer((socket) => {
            sockets.add(socket);
            socket.on("error", () => {});
            socket.on("data", (data) => {
                seen.received += 1;
                onData(socket, data);
            });
        });
        await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
        opened.push({
            close: () => {
                listener.close();
                for (const socket of sockets) socket.destroy();
            },
        });
        const address = listener.address();
        assert(address !== null && typeof address === "object");
        seen.address = `127.0.0.1:${address.port}`;
        return seen;
    }
    const blackHole = () => listen(() => {});
    const hangUp = () => listen((socket) => socket.destroy());

    /** An address without a listener. */
    async function nobody(): Promise<string> {
        const server = await startServer({ port: 0 });
        await server.close();
        return server.address;
    }

    it("tries another address for a call of which nothing was sent", async () => {
        const server = await serve({ name: "here" });
        const api = client([await nobody(), server.address], { idempotent: [] });
        for (let turn = 0; turn < 10; turn++) assert.equal(await api.api.ping(), "here");
    });

    it("waits for a server to appear, within the deadline", async () => {
        const address = await nobody();
        const api = client([address], { deadlineMs: 5000 });
        const answer = api.api.ping();
        await sleep(50);
        await serve({ port: parseAddress(address).port, name: "late" });
        assert.equal(await answer, "late");
    });

    it("tries another server when one hangs", async () => {
        const [server, stuck] = [await serve(), await blackHole()];
        const api = client([stuck.address, server.address], { deadlineMs: 400, raw: false });
        for (let turn = 0; turn < 6; turn++) assert.equal(await api.api.echo("x"), "x");
        assert.equal(stuck.received, 1, "the server that hangs is avoided afterwards");
    });

    it("gives up at the deadline, after more than one try", async () => {
        const stuck = await blackHole();
        const started = performance.now();
        await assert.rejects(client([stuck.address], { deadlineMs: 200 }).api.ping(), (error) => {
            assert(error instanceof DeadlineExceeded, String(error));
            assert.equal(error.maybeDone, true);
            assert.equal(error.tries.length, 3);
            assert(error.tries.every((failed) => failed.address === stuck.address));
            return true;
        });
        assert.equal(stuck.received, 3);
        const took = performance.now() - started;
        assert(took > 190 && took < 2000, `${took} ms`);
    });

    it("lets a call override the deadline", async () => {
        const stuck = await blackHole();
        const call = client([stuck.address], { deadlineMs: 60_000 }).call("ping", [], { deadlineMs: 50 });
        await assert.rejects(call, DeadlineExceeded);
    });

    it("never retries a call that is not idempotent once it was sent", async () => {
        const server = await serve();
        for (const [bad, kind] of [
            [await hangUp(), OutcomeUnknown],
            [await blackHole(), DeadlineExceeded],
            [await listen((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n")), OutcomeUnknown],
        ] as const) {
            let failed = 0;
            for (let turn = 0; turn < 4; turn++) {
                // New clients have not learnt to avoid the address.
                const api = client([bad.address, server.address], { deadlineMs: 100 });
                await api.api.createExperiment("x").catch((error) => {
                    assert(error instanceof kind, String(error));
                    assert.equal(error.tries.length, 1);
                    assert(error.maybeDone);
                    failed += 1;
                });
            }
            assert.equal(bad.received, failed);
        }
        const only = await hangUp();
        await assert.rejects(client([only.address]).api.createExperiment("x"), OutcomeUnknown);
        assert.equal(only.received, 1);
    });

    it("retries an idempotent call on broken connections, up to the limit", async () => {
        const broken = await hangUp();
        const api = client([broken.address], { attempts: 5 });
        await assert.rejects(
            api.api.ping(),
            (error) => error instanceof AllAddressesFailed && error.tries.length === 5,
        );
        assert.equal(broken.received, 5);
        await assert.rejects(api.call("ping", [], { idempotent: false }), OutcomeUnknown);
        assert.equal(broken.received, 6);
    });

    it("tries exactly once when raw", async () => {
        const broken = await hangUp();
        await assert.rejects(client([broken.address], { raw: true }).api.ping(), AllAddressesFailed);
        assert.equal(broken.received, 1);
        const gone = client([await nobody()], { raw: true });
        await assert.rejects(gone.api.ping(), (error) => error instanceof CallFailed && error.tries.length === 1);
    });

    it("reports that nothing was sent when no address accepts", async () => {
        const api = client([await nobody(), await nobody()], { deadlineMs: 100 });
        await assert.rejects(api.api.createExperiment("x"), (error) => {
            assert(error instanceof AllAddressesFailed, String(error));
            assert.match(error.message, /no address accepted a connection.*ECONNREFUSED/);
            assert.equal(error.maybeDone, false);
            return true;
        });
    });

    it("tries another server when one is leaving, and throws the exception when all are", async () => {
        const [leaving, other] = [await serve({ name: "leaving" }), await serve({ name: "other" })];
        const drained = leaving.drain();
        const api = client([leaving.address, other.address]);
        for (let turn = 0; turn < 4; turn++) assert.equal(await api.api.ping(), "other");
        await assert.rejects(client([leaving.address]).api.ping(), { name: "TApplicationException" });
        await drained;
    });

    it("keeps connections, except those that the server has ended", async () => {
        let connections = 0;
        const server = await serve({ idleSeconds: 0.05 });
        const api = client([server.address], { idempotent: [], raw: true });
        for (let turn = 0; turn < 20; turn++) {
            await api.api.echo("x");
            connections = Math.max(connections, server.connections);
        }
        assert.equal(connections, 1);
        while (server.connections > 0) await sleep(5);
        assert.equal(await api.api.echo("again"), "again");
    });

    it("does not call on a connection that ends with, or is marked as ending with, the reply", async () => {
        const server = await serve();
        for (const how of ["ended", "marked"]) {
            let connections = 0;
            // Passes calls on to the server, and one reply back.
            const once = await listen((socket, data) => {
                connections += 1;
                const upstream = connect(parseAddress(server.address), () => upstream.write(data));
                upstream.on("data", (reply) => {
                    upstream.destroy();
                    if (how === "ended") socket.end(reply);
                    else socket.write(markLast(reply, false));
                    socket.removeAllListeners("data");
                });
            });
            const api = client([once.address], { idempotent: [], raw: true, deadlineMs: 500 });
            for (let turn = 0; turn < 50; turn++) assert.equal(await api.api.echo("x"), "x", how);
            assert.equal(connections, 50);
        }
    });

    it("keeps no more idle connections than its pool holds", async () => {
        for (const poolSize of [0, 2]) {
            const server = await serve();
            const api = client([server.address], { poolSize });
            await Promise.all(Array.from({ length: 10 }, () => api.api.sleep(20)));
            while (server.connections > poolSize) await sleep(1);
            await api.api.ping();
            while (server.connections > poolSize) await sleep(1);
            assert.equal(server.connections, poolSize);
        }
    });

    it("closes unused connections", async () => {
        const server = await serve();
        const api = client([server.address], { idleMs: 50 });
        await api.api.sleep(150);
        while (server.connections > 0) await sleep(5);
    });

    it("limits concurrent calls", async () => {
        const server = await serve();
        const api = client([server.address], { maxCalls: 2 });
        const calls = [api.api.sleep(50), api.api.sleep(50)];
        await new Promise(setImmediate);
        await assert.rejects(api.api.ping(), TooManyCalls);
        await Promise.all(calls);
        await api.api.ping();
    });

    it("fails calls in flight when it is closed", async () => {
        const stuck = await blackHole();
        const api = client([stuck.address], { deadlineMs: 60_000 });
        const call = assert.rejects(api.api.ping(), ClientClosed);
        while (stuck.received === 0) await sleep(1);
        api.close();
        await call;
        await assert.rejects(api.api.ping(), ClientClosed);
    });

    it("rejects arguments that do not fit, and unknown methods, without calling", async () => {
        const stuck = await blackHole();
        const api = client([stuck.address]);
        await assert.rejects(api.api.echo(5 as unknown as string), /without a string/);
        await assert.rejects(api.call("nothing" as "ping", []), /no method "nothing"/);
        assert.equal(stuck.received, 0);
    });

    it("refuses a reply to another call", async () => {
        const server = await serve();
        // Changes the sequence number in what the server answers.
        const forger = await listen((socket, data) => {
            const upstream = connect(parseAddress(server.address), () => upstream.write(data));
            upstream.on("data", (reply) => {
                reply[15] = (reply[15] as number) ^ 1;
                socket.write(reply);
                upstream.destroy();
            });
        });
        const call = client([forger.address], { raw: true }).api.ping();
        await assert.rejects(call, /a reply to ping \(\d+\) came for ping/);
    });

    it("accepts addresses with names, IPv4 and IPv6, and rejects others", () => {
        assert.deepEqual(parseAddress("[::1]:9190"), { host: "::1", port: 9190, text: "[::1]:9190" });
        assert.deepEqual(parseAddress("gw.internal:1"), { host: "gw.internal", port: 1, text: "gw.internal:1" });
        for (const wrong of ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "[host]:80", "a b:80"]) {
            assert.throws(() => parseAddress(wrong), /is not an address/, wrong);
        }
        assert.throws(() => client([]), /at least one address/);
        assert.throws(() => client(["a:1"], { deadlineMs: 0 }), /deadlineMs must be more than 0/);
    });

    it("lets only one call try an address that failed", async () => {
        const [once, other] = [parseAddress("once:1"), parseAddress("other:1")];
        const probes = new AddressBook([once, other], () => 0);
        probes.failed(once);
        while (probes.pick(new Set()) === other) await sleep(5);
        for (let turn = 0; turn < 4; turn++) assert.equal(probes.pick(new Set()), other);

        const [bad, good] = [parseAddress("bad:1"), parseAddress("good:1")];
        const book = new AddressBook([bad, good], () => 0);
        book.failed(bad);
        for (let turn = 0; turn < 4; turn++) assert.equal(book.pick(new Set()), good);
        assert.equal(book.pick(new Set([good])), good, "a healthy address rather than one that failed");
        book.failed(good);
        assert.equal(book.pick(new Set([good])), bad, "of two that failed, the one not tried");
        book.succeeded(good);
        book.succeeded(bad);
        assert.deepEqual(new Set([book.pick(new Set()), book.pick(new Set())]), new Set([bad, good]));
        book.leaving(bad);
        for (let turn = 0; turn < 4; turn++) assert.equal(book.pick(new Set()), good);
    });

    describe("under load", () => {
        for (const connection of ["kept", "perCall"] as const) {
            it(`loses no call when one of two servers dies (${connection})`, async () => {
                const [one, two] = [await serve(), await serve()];
                const addresses = [one.address, two.address];
                // A deadline that even a busy computer keeps, as this does not test speed.
                const calls = load({ addresses, connection, ratePerSecond: 100, raw: false, deadlineMs: 10_000 });
                const raw = load({ addresses, connection, ratePerSecond: 100 });
                while (calls.live.ok < 100 || raw.live.ok < 100) await sleep(1);
                await one.close();
                const then = calls.live.ok;
                while (calls.live.ok < then + 200 && calls.live.failed === 0) await sleep(1);
                const report = await calls.stop();
                assert.deepEqual(report.failures, []);
                assert.equal(report.ok, report.started);
                assert(report.latencyMs !== undefined && report.latencyMs.p50 > 0);
                // Without retries, the generator does see the event.
                const rawReport = await raw.stop();
                assert(rawReport.failed > 50);
                assert.equal(rawReport.ok + rawReport.failed, rawReport.started);
            });
        }

        it("starts calls on schedule, independent of earlier ones, and records failures", async () => {
            const stuck = await blackHole();
            const before = performance.timeOrigin + performance.now();
            const failures: string[] = [];
            const calls = load({
                addresses: [stuck.address],
                ratePerSecond: 200,
                deadlineMs: 150,
                onFailure: (failure) => failures.push(failure.address),
            });
            while (calls.live.failed < 20) await sleep(1);
            const report = await calls.stop();
            assert.equal(report.failed, report.started);
            assert.equal(failures.length, report.failed);
            assert(report.started >= 40, "20 failures, and those of the 150 ms after them");
            const gaps = report.failures.map((failure) => failure.startedAt).sort((a, b) => a - b);
            for (const [index, at] of gaps.entries()) assert(Math.abs(at - (gaps[0] as number) - index * 5) < 0.01);
            assert((gaps[0] as number) >= before - 1);
            const last = report.failures.at(-1);
            assert(last !== undefined && last.failedAt - last.startedAt > 140); // timers may be a little early;
            assert.equal(report.latencyMs, undefined);
            assert.equal(report.outageMs, (report.lastFailureAt ?? 0) - (report.firstFailureAt ?? 0));
        });

        it("counts an exception and a foreign protocol as failures", async () => {
            const leaving = await serve({ drain: { seconds: 1 } });
            const drained = leaving.drain();
            const http = await listen((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
            for (const address of [leaving.address, http.address]) {
                const calls = load({ addresses: [address], ratePerSecond: 100, method: "ping" });
                while (calls.live.failed < 5) await sleep(1);
                const report = await calls.stop();
                assert.equal(report.ok, 0);
                assert.match(report.failures[0]?.error ?? "", /BadReply/);
            }
            await drained;
        });
    });
});
