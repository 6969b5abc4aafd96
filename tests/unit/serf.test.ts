/** The programs that talk to Serf's agent, against a stand-in that speaks its protocol. */
import * as assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeMultiStream, encode } from "@msgpack/msgpack";
import { SerfClient, type SerfMember } from "../../clients/serf";
import { waitFor } from "../../lib/wait";
import { backendsOf, followMembers } from "../../programs/serf-members/main";

interface RawMember {
    readonly Name: string;
    readonly Addr: Uint8Array;
    readonly Port: number;
    readonly Tags: Record<string, string>;
    readonly Status: string;
}

const raw = (name: string, host: number, more: Partial<RawMember> = {}): RawMember => ({
    Name: name,
    Addr: Uint8Array.from([10, 0, 0, host]),
    Port: 7946,
    Tags: { role: "gw", port: "9190" },
    Status: "alive",
    ...more,
});

/** Answers as a Serf agent with the key "right". */
class FakeAgent {
    members: readonly RawMember[] = [];
    /** Bodies of `tags` and `event` requests. */
    readonly told: { readonly [key: string]: unknown }[] = [];
    /** Number of requests for the members. */
    asked = 0;
    mute = false;
    private readonly sockets = new Set<Socket>();
    private readonly streams: (() => void)[] = [];
    private readonly server = createServer((socket) => {
        this.sockets.add(socket);
        socket.on("error", () => {});
        void this.serve(socket).catch(() => {});
    });

    async start(): Promise<number> {
        await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
        return (this.server.address() as AddressInfo).port;
    }

    /** Ends all connections; `listen` says whether it accepts new ones. */
    drop(): void {
        this.streams.length = 0;
        for (const socket of this.sockets) socket.destroy();
        this.sockets.clear();
    }

    stop(): void {
        this.drop();
        this.server.close();
    }

    /** Sends an event to all streams. */
    event(): void {
        for (const stream of this.streams) stream();
    }

    private async serve(socket: Socket): Promise<void> {
        let header: { Command: string; Seq: number } | undefined;
        let allowed = false;
        for await (const value of decodeMultiStream(socket)) {
            const { Command, Seq } = header ?? (value as { Command: string; Seq: number });
            if (!header && Command !== "members") {
                header = { Command, Seq };
                continue;
            }
            header = undefined;
            if (this.mute) continue;
            const answer = (refusal: string, body?: unknown) => {
                // In two parts, because an answer may arrive in pieces.
                const bytes = Buffer.concat([encode({ Seq, Error: refusal }), ...(body ? [encode(body)] : [])]);
                socket.write(bytes.subarray(0, 5));
                setImmediate(() => socket.write(bytes.subarray(5)));
            };
            const body = value as Record<string, unknown>;
            if (Command === "members") this.asked += 1;
            if (Command === "auth") allowed = body.AuthKey === "right";
            if (Command === "auth" && !allowed) answer("Invalid authentication token");
            else if (Command === "members") answer("", { Members: this.members });
            else answer("");
            if (Command === "tags" || Command === "event") this.told.push(body);
            if (Command === "stream") this.streams.push(() => answer("", { Event: "member-update", Members: [] }));
        }
    }
}

describe("the client of Serf's agent", () => {
    let agent: FakeAgent;
    let port: number;
    const rpc = (authKey = "right") => ({ host: "127.0.0.1", port, authKey });
    beforeEach(async () => {
        agent = new FakeAgent();
        port = await agent.start();
    });
    afterEach(() => agent.stop());

    it("lists members, with IPv4 and IPv6 addresses", async () => {
        const six = Uint8Array.from([0xfd, 0, ...Array(13).fill(0), 2]);
        const mapped = Uint8Array.from([...Array(10).fill(0), 255, 255, 10, 0, 0, 200]);
        agent.members = [raw("a", 130), raw("b", 0, { Addr: six }), raw("c", 0, { Addr: mapped, Status: "failed" })];
        const client = await SerfClient.connect(rpc());
        const members = await client.members();
        client.close();
        assert.deepEqual(
            members.map(({ name, address, status }) => [name, address, status]),
            [
                ["a", "10.0.0.130", "alive"],
                ["b", "fd00:0:0:0:0:0:0:2", "alive"],
                ["c", "10.0.0.200", "failed"],
            ],
        );
    });

    it("sets tags and sends events", async () => {
        const client = await SerfClient.connect(rpc());
        await client.setTags({ state: "draining" }, ["x"]);
        await client.sendEvent("gateway", "draining");
        client.close();
        assert.deepEqual(agent.told[0], { Tags: { state: "draining" }, DeleteTags: ["x"] });
        assert.deepEqual([agent.told[1]?.Name, agent.told[1]?.Coalesce], ["gateway", false]);
    });

    it("reports an agent that refuses, is down, or does not answer", async () => {
        await assert.rejects(SerfClient.connect(rpc("wrong")), /Serf's agent refuses: Invalid authentication token/);
        const client = await SerfClient.connect(rpc());
        agent.mute = true;
        await assert.rejects(client.members(), /no answer to "members" in 2000 ms/);
        agent.stop();
        await assert.rejects(SerfClient.connect(rpc()), /Serf's agent at 127.0.0.1:\d+: .*ECONNREFUSED/);
    });

    describe("the program that keeps the list of gateways", () => {
        let directory: string;
        let list: string;
        let end: AbortController;
        let done: Promise<void>;
        let said: string[];
        beforeEach(() => {
            directory = mkdtempSync(join(tmpdir(), "members-"));
            list = join(directory, "backends.json");
            end = new AbortController();
            said = [];
            agent.members = [raw("gw-0", 1), raw("gw-1", 2)];
            done = followMembers({ rpc: rpc(), list }, end.signal, (message) => said.push(message));
        });
        afterEach(async () => {
            end.abort();
            await done;
            rmSync(directory, { recursive: true });
        });
        const names = () => (JSON.parse(readFileSync(list, "utf8")) as { id: string }[]).map(({ id }) => id).join();
        const lists = (wanted: string) =>
            waitFor(`the list ${wanted}`, () => existsSync(list) && names() === wanted, 5_000, 5);

        it("writes the list, and again after an event", async () => {
            await lists("gw-0,gw-1");
            agent.members = [raw("gw-1", 2)];
            agent.event();
            await lists("gw-1");
        });

        it("looks again some time after an event, for changes that travel apart from it", async () => {
            await lists("gw-0,gw-1");
            const { asked } = agent;
            agent.event();
            await waitFor("the look at once", () => agent.asked > asked, 5_000, 5);
            agent.members = [];
            await lists("");
        });

        it("leaves the list unchanged while the agent does not answer, and logs it", async () => {
            await lists("gw-0,gw-1");
            agent.members = [];
            agent.stop();
            await waitFor("it to be said", () => said.some((line) => /the list stays as it is$/.test(line)), 5_000);
            assert.equal(names(), "gw-0,gw-1");
        });

        it("reconnects", async () => {
            await lists("gw-0,gw-1");
            agent.members = [raw("gw-7", 7)];
            agent.drop();
            await lists("gw-7");
        });
    });
});

describe("the gateways in the list", () => {
    const member = (name: string, more: Partial<SerfMember> = {}): SerfMember => ({
        name,
        address: "10.0.0.1",
        tags: { role: "gw", port: "9190" },
        status: "alive",
        ...more,
    });

    it("are alive and not draining, sorted by name", () => {
        const members = [
            member("gw-9"),
            member("gw-1"),
            member("lb-0", { tags: { role: "lb" } }),
            member("gw-2", { status: "failed" }),
            member("gw-3", { status: "leaving" }),
            member("gw-4", { tags: { role: "gw", port: "9190", state: "draining" } }),
        ];
        assert.deepEqual(backendsOf(members), [
            { id: "gw-1", address: "10.0.0.1", port: 9190 },
            { id: "gw-9", address: "10.0.0.1", port: 9190 },
        ]);
    });
});
