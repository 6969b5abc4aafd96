import * as assert from "node:assert/strict";
import net, { createServer, type Server, type Socket } from "node:net";
import { decodeFromCompressedBase64 } from "hdr-histogram-js";
import { encodeCall } from "../../gateway-sample/client/call";
import * as GatewayApi from "../../gateway-sample/gen/GatewayApi";
import { emptyHistogram, percentiles, startClosedLoop, startLoad } from "../../gateway-sample/load";
import { LoadGenerator } from "../../gateway-sample/load/generator";
import { answerOf } from "../../gateway-sample/load/nullServer";
import { callsDue, intendedStart } from "../../gateway-sample/load/schedule";
import { waitFor } from "../../lib/wait";

/** A server that passes each call and its socket to `answer`. */
async function serverThat(answer: (call: Buffer, socket: Socket) => void): Promise<{
    address: string;
    connections: () => number;
    close: () => void;
}> {
    let connections = 0;
    const sockets = new Set<Socket>();
    const server: Server = createServer((socket) => {
        connections += 1;
        sockets.add(socket);
        socket.on("data", (call) => answer(call, socket));
        socket.on("error", () => socket.destroy());
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return {
        address: `127.0.0.1:${(server.address() as { port: number }).port}`,
        connections: () => connections,
        close: () => {
            server.close();
            for (const socket of sockets) socket.destroy();
        },
    };
}

describe("bench: schedule", () => {
    it("starts the first call at once, and the others at even intervals", () => {
        assert.equal(callsDue(-1, 1000), 0);
        assert.equal(callsDue(0, 1000), 1);
        assert.equal(callsDue(0.9, 1000), 1);
        assert.equal(callsDue(1, 1000), 2);
        assert.equal(callsDue(1000, 300), 301);
        assert.equal(intendedStart(0, 300), 0);
        assert.equal(intendedStart(300, 300), 1000);
    });

    it("never has a call due before its intended start, and skips none", () => {
        for (const rate of [7, 300, 3333, 20_000]) {
            for (let call = 0; call < 2_000; call++) {
                const start = intendedStart(call, rate);
                assert.equal(callsDue(start, rate), call + 1, `${rate}/s, call ${call}`);
                assert.equal(callsDue(start - 1e-3, rate), call, `${rate}/s, before call ${call}`);
            }
        }
    });
});

describe("bench: load", () => {
    const servers: { close: () => void }[] = [];
    const serve = async (answer: (call: Buffer, socket: Socket) => void) => {
        const server = await serverThat(answer);
        servers.push(server);
        return server;
    };
    afterEach(() => {
        for (const server of servers.splice(0)) server.close();
    });
    const good = (call: Buffer, socket: Socket) => void socket.write(answerOf(call));

    it("has a null server whose answers the client library accepts", async () => {
        const call = await encodeCall(GatewayApi, "echo", ["text"], { framed: false });
        const bytes = answerOf(call.request);
        const reply = { type: 2, name: "echo", seqid: call.request.readInt32BE(12), bytes };
        assert.equal(await call.decode(reply), "text");
    });

    it("accepts answers in one piece and in several, on kept and new connections", async () => {
        const inPieces = (call: Buffer, socket: Socket) => {
            const answer = answerOf(call);
            socket.write(answer.subarray(0, 5));
            setImmediate(() => socket.write(answer.subarray(5)));
        };
        for (const answer of [good, inPieces]) {
            for (const connection of ["kept", "perCall"] as const) {
                const server = await serve(answer);
                const load = startLoad({ addresses: [server.address], ratePerSecond: 500, connection });
                await waitFor("calls", () => load.live.ok >= 50, 5_000, 5);
                const report = await load.stop();
                assert.deepEqual(report.failures, []);
                assert.equal(report.ok, report.started);
                if (connection === "perCall") assert.equal(server.connections(), report.started);
                else assert.ok(server.connections() <= 16);
            }
        }
    });

    it("respects the limit of connections, for which calls wait", async () => {
        const held: (() => void)[] = [];
        const server = await serve((call, socket) => void held.push(() => good(call, socket)));
        const options = { addresses: [server.address], connection: "kept", connections: 3, deadlineMs: 5_000 } as const;
        const load = startLoad({ ...options, ratePerSecond: 1000 });
        await waitFor("calls to wait", () => load.live.started > 20, 5_000, 5);
        await waitFor("all connections", () => held.length === 3, 5_000, 5);
        assert.equal(server.connections(), 3);
        const stopped = load.stop();
        const release = setInterval(() => held.shift()?.(), 1);
        const report = await stopped;
        clearInterval(release);
        assert.equal(report.ok, report.started);
        assert.equal(server.connections(), 3);
    });

    it("counts latency from the intended start, including calls that had to wait", async () => {
        const server = await serve((call, socket) => void setTimeout(() => good(call, socket), 60));
        const options = {
            addresses: [server.address],
            connection: "kept",
            connections: 1,
            deadlineMs: 10_000,
        } as const;
        const load = startLoad({ ...options, ratePerSecond: 100 });
        await waitFor("calls", () => load.live.started >= 10, 5_000, 5);
        const { latencyMs, started } = await load.stop();
        // The last call waited for ten others, each of which took 60 ms of the only connection.
        assert.ok((latencyMs?.max ?? 0) >= started * 60 - started * 10 - 70, JSON.stringify(latencyMs));
    });

    it("reports how late it started calls", async () => {
        const server = await serve(good);
        // Ticks only on request, like a busy computer.
        let tick = () => {};
        const ticker = (each: () => void) => {
            tick = each;
            return () => {};
        };
        const load = startLoad({ addresses: [server.address], ratePerSecond: 1000, ticker });
        await waitFor("the first call", () => load.live.ok === 1, 5_000, 5);
        const begun = performance.now();
        await waitFor("time to pass", () => performance.now() - begun >= 50, 5_000, 5);
        tick();
        const { late, started } = await load.stop();
        assert.ok(started >= 50);
        assert.ok((late?.max ?? 0) >= 49, JSON.stringify(late));
    });

    it("fails a call without an answer by its deadline, and frees its connection", async () => {
        let calls = 0;
        const server = await serve((call, socket) => {
            calls += 1;
            if (calls > 1) good(call, socket);
        });
        const options = { addresses: [server.address], connection: "kept", connections: 1, deadlineMs: 200 } as const;
        const load = startLoad({ ...options, ratePerSecond: 4 });
        await waitFor("an answer", () => load.live.ok >= 1, 5_000, 5);
        const report = await load.stop();
        assert.equal(report.failed, 1);
        assert.match(report.failures[0]?.error ?? "", /^TimedOut/);
        const { startedAt = 0, failedAt = 0 } = report.failures[0] ?? {};
        assert.ok(failedAt - startedAt >= 200);
        assert.equal(server.connections(), 2);
    });

    it("opens no connection for calls that waited until their deadline", async () => {
        const server = await serve(() => undefined);
        const { connect } = net;
        let made = 0;
        // The server does not see connections that end before it accepts them.
        net.connect = ((...given: Parameters<typeof connect>) => {
            made += 1;
            return connect(...given);
        }) as typeof connect;
        const load = startLoad({
            ...{ addresses: [server.address], ratePerSecond: 20_000, deadlineMs: 100 },
            ...{ connection: "kept", connections: 2 },
        });
        await waitFor("many calls to fail", () => load.live.failed > 4000, 10_000, 5).finally(() => {
            net.connect = connect;
        });
        const { failed } = await load.stop();
        // Two for each check of deadlines, in which some twenty calls expire.
        assert.ok(made > 0 && made < failed / 4, `${made} connections for ${failed} calls`);
    });

    it("starts a new process when its own has died", async () => {
        const server = await serve(good);
        const generator = new LoadGenerator();
        try {
            const options = { addresses: [server.address], ratePerSecond: 100 };
            const load = await generator.start(options);
            process.kill(generator.pid, "SIGKILL");
            await assert.rejects(load.stop(), /the generator (has )?ended/);
            const next = await generator.start(options);
            assert.equal((await next.stop()).failed, 0);
        } finally {
            await generator.close();
        }
    });

    it("distinguishes refused, reset and closed connections", async () => {
        const gone = await serve(good);
        gone.close();
        const reset = await serve((_, socket) => void socket.resetAndDestroy());
        const closed = await serve((_, socket) => void socket.end());
        const foreign = await serve((_, socket) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
        const errors: (readonly [{ readonly address: string }, RegExp])[] = [
            [gone, /^ConnectFailed: ECONNREFUSED/],
            [reset, /^ConnectionLost: ECONNRESET/],
            [closed, /^ConnectionLost: the server ended/],
            [foreign, /^BadReply/],
        ];
        for (const [{ address }, expected] of errors) {
            for (const connection of ["kept", "perCall"] as const) {
                const load = startLoad({ addresses: [address], ratePerSecond: 200, connection });
                await waitFor("failures", () => load.live.failed >= 3, 5_000, 5);
                const { failures, ok } = await load.stop();
                assert.equal(ok, 0);
                for (const { error } of failures) assert.match(error, expected);
            }
        }
    });

    it("calls the first address only, or each in turn", async () => {
        const [one, other] = [await serve(good), await serve(good)];
        for (const spread of [false, true]) {
            const before = other.connections();
            const load = startLoad({ addresses: [one.address, other.address], ratePerSecond: 500, spread });
            await waitFor("calls", () => load.live.ok >= 20, 5_000, 5);
            await load.stop();
            assert.equal(other.connections() > before, spread);
        }
    });

    it("keeps exactly the closed loop's calls in flight, even when they fail", async () => {
        let underWay = 0;
        let most = 0;
        const server = await serve((call, socket) => {
            underWay += 1;
            most = Math.max(most, underWay);
            setTimeout(() => {
                underWay -= 1;
                good(call, socket);
            }, 5);
        });
        const load = startClosedLoop({ addresses: [server.address], concurrency: 7, connection: "kept" });
        await waitFor("calls", () => load.live.ok >= 100, 5_000, 5);
        const report = await load.stop();
        assert.equal(most, 7);
        assert.equal(report.ok, report.started);
        server.close();
        const failing = startClosedLoop({ addresses: [server.address], concurrency: 2 });
        await waitFor("failures", () => failing.live.failed >= 10, 5_000, 5);
        assert.equal((await failing.stop()).ok, 0);
    });

    it("reports percentiles in milliseconds, and the histogram", async () => {
        const histogram = emptyHistogram();
        for (let value = 1; value <= 1000; value++) histogram.recordValue(value * 1000);
        const found = percentiles(histogram);
        assert.ok(found);
        // Two significant digits.
        for (const [key, expected] of [
            ["p50", 500],
            ["p90", 900],
            ["p99", 990],
            ["max", 1000],
        ] as const) {
            assert.ok(Math.abs(found[key] - expected) <= expected * 0.01, `${key} ${found[key]}`);
        }
        assert.equal(percentiles(emptyHistogram()), undefined);
        const server = await serve(good);
        const load = startLoad({ addresses: [server.address], ratePerSecond: 200 });
        await waitFor("calls", () => load.live.ok >= 5, 5_000, 5);
        const report = await load.stop();
        assert.equal(decodeFromCompressedBase64(report.histogram).totalCount, report.ok);
    });
});
