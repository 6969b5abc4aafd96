import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, parseAddress, type ServiceClient } from "../../gateway-sample/client";
import { encodeCall } from "../../gateway-sample/client/call";
import * as Admin from "../../gateway-sample/gen/Admin";
import * as GatewayApi from "../../gateway-sample/gen/GatewayApi";
import { ExperimentNotFound } from "../../gateway-sample/gen/gateway_types";
import { type LoadOptions, startLoad } from "../../gateway-sample/load";
import { type RunningServer, type ServerOptions, startServer } from "../../gateway-sample/server/server";
import { type Message, MessageReader, MessageType } from "../../gateway-sample/wire/message";

describe("gateway sample: server", () => {
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
        const server = await startServer({ port: 0, drain: { seconds: 4, quietSeconds: 0.1 }, ...options });
        opened.push(server);
        return server;
    }

    function client(...addresses: string[]): ServiceClient<GatewayApi.Client> {
        const made = createClient(GatewayApi, { addresses, deadlineMs: 3000, raw: true });
        opened.push(made);
        return made;
    }

    /** A plain connection, and the data that the server sends on it. */
    async function dial(server: RunningServer, framed = false) {
        const socket = connect(parseAddress(server.address));
        opened.push({ close: () => socket.destroy() });
        const reader = new MessageReader({ framed });
        const replies: Message[] = [];
        socket.on("data", (chunk) => {
            reader.push(chunk);
            for (let next = reader.next(); next !== undefined; next = reader.next()) replies.push(next);
        });
        socket.on("error", () => {});
        const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
        await once(socket, "connect");
        const reply = async (count: number) => {
            while (replies.length < count && !socket.readableEnded && !socket.destroyed) await sleep(1);
            return replies[count - 1];
        };
        return { socket, replies, reply, closed };
    }

    /** A server whose `received` resolves when its `sleep` is called. */
    async function serveSlowly(options: ServerOptions = {}) {
        const calls = new EventEmitter();
        const GatewayApiProcessor = new GatewayApi.Processor({
            ping: async () => "slow",
            echo: async (text: string) => text,
            sleep: async (milliseconds: number) => {
                calls.emit("call");
                await sleep(milliseconds, undefined, { ref: false });
                return "slept";
            },
        });
        const received = once(calls, "call");
        return { server: await serve({ services: { GatewayApi: GatewayApiProcessor }, ...options }), received };
    }

    const encode = async (method: string, args: unknown[] = [], framed = false, serviceName?: string) =>
        (await encodeCall(GatewayApi, method, args, { framed, serviceName })).request;

    for (const framed of [false, true]) {
        for (const multiplexed of [false, true]) {
            it(`answers ${framed ? "framed" : "unframed"}${multiplexed ? ", multiplexed" : ""} calls`, async () => {
                const server = await serve({ framed, multiplexed, name: "gw" });
                const options = { addresses: [server.address], framed };
                const api = createClient(GatewayApi, {
                    ...options,
                    ...(multiplexed ? { serviceName: "GatewayApi" } : {}),
                });
                opened.push(api);
                assert.equal(await api.api.ping(), "gw");
                assert.equal(await api.api.echo("größer €"), "größer €");
                const long = "x".repeat(1_000_000);
                assert.equal(await api.api.echo(long), long);
                const made = await api.api.createExperiment("first");
                assert.deepEqual(await api.api.getExperiment(made.id), made);
                await assert.rejects(api.api.getExperiment("none"), (error) => error instanceof ExperimentNotFound);
                await assert.rejects(api.api.sleep(-1), { name: "TApplicationException" });
                if (!multiplexed) return;
                const admin = createClient(Admin, { ...options, serviceName: "Admin" });
                opened.push(admin);
                await admin.api.note("a line");
                const status = await admin.api.status();
                assert.deepEqual([status.name, status.state, status.callsAnswered], ["gw", "serving", 7]);
            });
        }
    }

    it("answers a call that arrives byte by byte", async () => {
        const server = await serve();
        const { socket, reply } = await dial(server);
        socket.setNoDelay(true);
        for (const byte of await encode("echo", ["in pieces"])) {
            socket.write(Buffer.from([byte]));
            await new Promise(setImmediate);
        }
        assert.match((await reply(1))?.bytes.toString() ?? "", /in pieces/);
    });

    it("answers calls sent ahead, in their order, and a client that has ended its side", async () => {
        const server = await serve();
        const { socket, replies, reply } = await dial(server);
        const calls = [await encode("sleep", [50]), await encode("echo", ["b"]), await encode("ping")];
        socket.end(Buffer.concat(calls));
        await reply(3);
        assert.deepEqual(
            replies.map((one) => one.name),
            ["sleep", "echo", "ping"],
        );
    });

    it("answers an unknown method with an exception, and keeps serving", async () => {
        const server = await serve();
        const { socket, reply } = await dial(server);
        const bytes = await encode("ping");
        socket.write(Buffer.from(bytes.toString("latin1").replace("ping", "pong"), "latin1"));
        assert.equal((await reply(1))?.type, MessageType.exception);
        socket.write(bytes);
        assert.equal((await reply(2))?.type, MessageType.reply);
    });

    it("closes only the connection when it receives anything but a call", async () => {
        const server = await serve({ maxMessageBytes: 10_000 });
        const reply = Buffer.from(await encode("ping"));
        reply[3] = MessageType.reply;
        const big = (await encode("echo", ["x".repeat(20_000)])).subarray(0, 100);
        for (const bytes of [Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(64, 0xff), reply, big]) {
            const { socket, closed, replies } = await dial(server);
            socket.write(bytes);
            await closed;
            assert.equal(replies.length, 0);
        }
        assert.equal(await client(server.address).api.echo("still here"), "still here");
    });

    it("closes the connection at a call of an unknown service when multiplexed", async () => {
        const server = await serve({ multiplexed: true });
        for (const service of [undefined, "Nobody", "constructor"]) {
            const { socket, closed, replies } = await dial(server);
            socket.write(await encode("ping", [], false, service));
            await closed;
            assert.equal(replies.length, 0);
        }
    });

    it("closes connections above the limit, and idle ones", async () => {
        const server = await serve({ maxConnections: 1, idleSeconds: 0.1 });
        const first = await dial(server);
        first.socket.write(await encode("ping"));
        await first.reply(1);
        const second = await dial(server);
        await second.closed;
        await first.closed;
        while (server.connections > 0) await sleep(1);
    });

    it("keeps a connection open while its call takes longer than the idle limit", async () => {
        const server = await serve({ idleSeconds: 0.05 });
        const { socket, reply } = await dial(server);
        socket.write(await encode("sleep", [200]));
        assert.equal((await reply(1))?.type, MessageType.reply);
    });

    describe("draining", () => {
        for (const multiplexed of [false, true]) {
            it(`fails health checks and serves all other calls${multiplexed ? ", multiplexed" : ""}`, async () => {
                const server = await serve({ multiplexed });
                const name = multiplexed ? "GatewayApi" : undefined;
                const drained = server.drain();
                assert.equal(server.state, "draining");
                const check = await dial(server);
                check.socket.write(await encode("ping", [], false, name));
                const answer = await check.reply(1);
                assert.equal(answer?.type, MessageType.exception);
                // The exact bytes that a balancer expects.
                assert.equal(answer.bytes.subarray(0, 12).toString("hex"), "800100030000000470696e67");
                const call = await dial(server);
                call.socket.write(await encode("echo", ["new"], false, name));
                assert.equal((await call.reply(1))?.type, MessageType.reply);
                await call.closed;
                assert.equal((await drained).callsCut, 0);
                assert.equal(server.state, "closed");
                await assert.rejects(dial(server), { code: "ECONNREFUSED" });
            });
        }

        it("answers a call in flight, and health checks until then", async () => {
            const { server, received } = await serveSlowly();
            const call = await dial(server);
            call.socket.write(await encode("sleep", [500]));
            await received;
            const started = performance.now();
            const drained = server.drain();
            // Longer than the quiet time. A balancer that cannot connect would cut off the call.
            while (performance.now() - started < 400) {
                const check = await dial(server);
                check.socket.write(await encode("ping"));
                assert.equal((await check.reply(1))?.type, MessageType.exception);
                await sleep(20);
            }
            assert.equal((await call.reply(1))?.type, MessageType.reply);
            await call.closed;
            assert.equal((await drained).callsCut, 0);
        });

        it("ends a connection with its next reply, whether or not the client ends its side", async () => {
            const { server, received } = await serveSlowly({
                drain: { seconds: 8, quietSeconds: 0.1, idleSeconds: 8 },
            });
            const busy = await dial(server);
            busy.socket.write(await encode("sleep", [500]));
            await received;
            const kept = await dial(server);
            kept.socket.allowHalfOpen = true;
            kept.socket.write(await encode("echo", ["one"]));
            await kept.reply(1);
            const drained = server.drain();
            assert.equal(server.connections, 2);
            kept.socket.write(await encode("echo", ["two"]));
            assert.equal((await kept.reply(2))?.type, MessageType.reply);
            while (server.connections > 1) await sleep(1);
            assert.equal(busy.replies.length, 0, "not only when the server was done");
            await drained;
        });

        it("waits for a connection that has not called yet", async () => {
            const server = await serve({ drain: { seconds: 8, quietSeconds: 0.05, idleSeconds: 4 } });
            const late = await dial(server);
            const drained = server.drain();
            await sleep(300);
            late.socket.write(await encode("echo", ["late"]));
            assert.equal((await late.reply(1))?.type, MessageType.reply);
            await drained;
        });

        it("answers what was sent ahead before it ends the connection", async () => {
            const { server, received } = await serveSlowly();
            const call = await dial(server);
            call.socket.write(Buffer.concat([await encode("sleep", [100]), await encode("echo", ["second"])]));
            await received;
            const drained = server.drain();
            assert.equal((await call.reply(2))?.type, MessageType.reply);
            assert.equal((await drained).callsCut, 0);
        });

        it("accepts while calls come, but not for health checks alone", async () => {
            const server = await serve({ drain: { seconds: 5, quietSeconds: 0.3 } });
            const checks = setInterval(async () => {
                const check = await dial(server).catch(() => undefined);
                check?.socket.write(await encode("ping"));
            }, 50);
            try {
                const drained = server.drain();
                // Calls come for longer than the quiet time, with shorter gaps.
                for (let turn = 0; turn < 5; turn++) {
                    await sleep(150);
                    const call = await dial(server);
                    call.socket.write(await encode("echo", ["x"]));
                    assert.equal((await call.reply(1))?.type, MessageType.reply, `call ${turn}`);
                }
                const { callsCut, milliseconds } = await drained;
                assert.equal(callsCut, 0);
                assert(milliseconds < 4000, "health checks kept the server");
            } finally {
                clearInterval(checks);
            }
        });

        it("closes idle connections after a while", async () => {
            const server = await serve({ drain: { seconds: 10, quietSeconds: 0.1, idleSeconds: 0.2 } });
            const idle = await dial(server);
            idle.socket.write(await encode("echo", ["x"]));
            await idle.reply(1);
            const drained = server.drain();
            await idle.closed;
            assert((await drained).milliseconds < 5000);
        });

        it("cuts off calls at the deadline, and at once when closed", async () => {
            for (const end of ["deadline", "close"]) {
                const { server, received } = await serveSlowly({ drain: { seconds: end === "deadline" ? 0.3 : 60 } });
                const call = await dial(server);
                call.socket.write(await encode("sleep", [5000]));
                await received;
                const drained = server.drain();
                if (end === "close") await server.close();
                assert.equal((await drained).callsCut, 1);
                assert.equal(call.replies.length, 0);
            }
        });

        it("loses no call of clients that keep their connection and never retry", async () => {
            const [one, two] = [await serve(), await serve()];
            let calls = 0;
            let running = true;
            const workers = Array.from({ length: 8 }, async () => {
                const kept = client(one.address, two.address);
                while (running) {
                    await kept.api.echo("x"); // one failure fails the test
                    calls += 1;
                }
            });
            const working = Promise.all(workers);
            await Promise.race([sleep(200), working]);
            const before = calls;
            const drained = await Promise.race([one.drain(), working]);
            running = false;
            await working;
            assert(calls > before && before > 0);
            assert.equal((drained as { callsCut: number }).callsCut, 0);
        });

        it("loses no call that a balancer sends after the health check has failed", async () => {
            const servers = [await serve({ drain: { quietSeconds: 1 } }), await serve()];
            const balancer = await startBalancer(servers, opened);
            const loads = (["perCall", "kept"] as const).map((connection) =>
                load({ addresses: [balancer], connection, ratePerSecond: 200, deadlineMs: 10_000 }),
            );
            await sleep(300);
            const drained = await servers[0]?.drain();
            assert.equal(drained?.callsCut, 0);
            for (const load of loads) {
                const report = await load.stop();
                assert.deepEqual(report.failures, []);
                assert(report.ok > 200);
            }
        });
    });

    it("answers with one exception when writing a result fails", async () => {
        const processor = new GatewayApi.Processor({ ping: async () => 42, echo: async (text: string) => text });
        const server = await serve({ services: { GatewayApi: processor } });
        const { socket, reply } = await dial(server);
        socket.write(await encode("ping"));
        const answer = await reply(1);
        assert.equal(answer?.type, MessageType.exception);
        socket.write(await encode("echo", ["x"]));
        assert.equal((await reply(2))?.name, "echo");
    });
});

/** A TCP balancer that checks health every 100 ms, and sends connections to a draining server for another 600 ms. */
async function startBalancer(servers: readonly RunningServer[], opened: { close(): unknown }[]): Promise<string> {
    const usable = new Set(servers);
    const sockets = new Set<Socket>();
    const ping = (await encodeCall(GatewayApi, "ping", [], { framed: false })).request;
    const checks = servers.map((server) => {
        const timer = setInterval(() => {
            const socket = connect(parseAddress(server.address), () => socket.write(ping));
            sockets.add(socket);
            socket.on("error", () => {});
            socket.on("data", (data) => {
                if (data[3] === MessageType.exception) setTimeout(() => usable.delete(server), 600);
                socket.destroy();
            });
        }, 100);
        return timer;
    });
    let turn = 0;
    const listener: Server = createServer({ noDelay: true }, (socket) => {
        const targets = [...usable];
        turn += 1;
        const target = targets[turn % targets.length] as RunningServer;
        const upstream = connect({ ...parseAddress(target.address), noDelay: true });
        for (const each of [socket, upstream]) {
            sockets.add(each);
            each.on("error", () => {
                socket.destroy();
                upstream.destroy();
            });
        }
        socket.pipe(upstream).pipe(socket);
    });
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    opened.unshift({
        close: () => {
            for (const timer of checks) clearInterval(timer);
            listener.close();
            for (const socket of sockets) socket.destroy();
        },
    });
    const address = listener.address();
    assert(address !== null && typeof address === "object");
    return `127.0.0.1:${address.port}`;
}
