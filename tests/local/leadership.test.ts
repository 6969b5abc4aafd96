import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ConsulHttp } from "../../clients/consul";
import { engineProcesses, killEngine } from "../../engine/processes";
import { toolPath } from "../../toolchain";

/** A loopback address that no other test uses. */
const ADDRESS = `127.95.${process.pid % 250}.${1 + (Math.floor(process.pid / 250) % 250)}`;
const CONSUL = { host: ADDRESS, port: 8500 };

interface Line {
    readonly pid: number;
    readonly at: number;
    readonly event?: { readonly kind: string; readonly epoch?: number };
    readonly wrote?: number;
    readonly epoch?: number;
    readonly error?: string;
}

/** Between one daemon and Consul; `cut` lets nothing through any more, as a network that loses every packet. */
class Link {
    private readonly sockets = new Set<net.Socket>();
    private isCut = false;
    private readonly server = net.createServer((socket) => {
        this.keep(socket);
        if (this.isCut) return;
        const upstream = net.connect(CONSUL.port, CONSUL.host);
        this.keep(upstream);
        socket.on("data", (data) => !this.isCut && upstream.write(data));
        upstream.on("data", (data) => !this.isCut && socket.write(data));
        socket.on("close", () => upstream.destroy());
        upstream.on("close", () => !this.isCut && socket.destroy());
    });

    async open(): Promise<string> {
        this.server.listen(0, ADDRESS);
        await once(this.server, "listening");
        return `http://${ADDRESS}:${(this.server.address() as net.AddressInfo).port}`;
    }

    cut(): void {
        this.isCut = true;
    }

    mend(): void {
        this.isCut = false;
        for (const socket of this.sockets) socket.destroy();
    }

    close(): void {
        this.server.close();
        this.mend();
    }

    private keep(socket: net.Socket): void {
        this.sockets.add(socket);
        socket.on("error", () => undefined).on("close", () => this.sockets.delete(socket));
    }
}

/** Several daemons that want to lead, and what they wrote down. */
class Group {
    readonly directory = mkdtempSync(join(tmpdir(), "leadership-"));
    readonly daemons: { process: ChildProcess; readonly link: Link; readonly url: string; readonly name: string }[] =
        [];

    constructor(readonly name: string) {}

    async start(count: number): Promise<this> {
        for (let at = 0; at < count; at++) {
            const link = new Link();
            const url = await link.open();
            const name = `${this.name}-${at}`;
            this.daemons.push({ process: this.spawn(url, name), link, url, name });
        }
        return this;
    }

    spawn(url: string, name: string): ChildProcess {
        const argv = [url, `${this.name}/`, join(this.directory, "log"), join(this.directory, `${name}.json`)];
        const program = join(__dirname, "support", "leader.ts");
        return spawn(process.execPath, ["--import", "tsx", program, ...argv], {
            stdio: ["ignore", "ignore", "inherit"],
        });
    }

    lines(): Line[] {
        const path = join(this.directory, "log");
        if (!existsSync(path)) return [];
        return readFileSync(path, "utf8")
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => JSON.parse(line) as Line);
    }

    /** Waits until a leader of at least this epoch has written. */
    async leader(epoch: number) {
        const deadline = Date.now() + 60_000;
        for (;;) {
            const wrote = this.lines().find((line) => line.wrote !== undefined && (line.epoch ?? 0) >= epoch);
            const daemon = wrote && this.daemons.find(({ process }) => process.pid === wrote.pid);
            if (daemon) return daemon;
            if (Date.now() > deadline)
                throw new Error(`${this.name}: no leader of epoch ${epoch}: ${JSON.stringify(this.lines().slice(-5))}`);
            await delay(50);
        }
    }

    async until(what: string, holds: () => boolean): Promise<void> {
        const deadline = Date.now() + 60_000;
        while (!holds()) {
            if (Date.now() > deadline)
                throw new Error(`${this.name}: ${what}: ${JSON.stringify(this.lines().slice(-5))}`);
            await delay(50);
        }
    }

    /** What Consul accepted, in its order: an earlier leader never writes after a later one. */
    checkWriters(): void {
        const writes = this.lines().flatMap(({ wrote, epoch = 0, pid }) =>
            wrote === undefined ? [] : [{ wrote, epoch, pid }],
        );
        writes.sort((a, b) => a.wrote - b.wrote);
        const writers = new Map<number, number>();
        for (const [at, { epoch, pid }] of writes.entries()) {
            assert.ok(epoch >= (writes[at - 1]?.epoch ?? 0), `epoch ${epoch} wrote after ${writes[at - 1]?.epoch}`);
            assert.equal(writers.get(epoch) ?? pid, pid, `two writers of epoch ${epoch}`);
            writers.set(epoch, pid);
        }
        assert.ok(writers.size >= 2, "there was no change of leaders");
    }

    async end(): Promise<void> {
        for (const { process, link } of this.daemons) {
            link.close();
            if (process.exitCode === null && process.signalCode === null) {
                const exit = once(process, "exit");
                process.kill("SIGCONT");
                process.kill("SIGKILL");
                await exit;
            }
        }
        await killEngine(this.name, () => true);
        rmSync(this.directory, { recursive: true, force: true });
    }
}

describe("leader election with a real Consul", () => {
    let agent: ChildProcess | undefined;
    const groups: Group[] = [];
    const scenarios = new Map<string, Promise<void>>();

    /** All scenarios run at once, because each mostly waits for Consul to end a session. */
    const scenario = (title: string, count: number, play: (group: Group) => Promise<void>) => {
        const start = async () => {
            const group = new Group(title.replace(/\W+/g, "-").slice(0, 30));
            groups.push(group);
            await play(await group.start(count));
            group.checkWriters();
        };
        starts.push(() => scenarios.set(title, start()));
        it(title, async function () {
            this.timeout(120_000);
            await scenarios.get(title);
        });
    };
    const starts: (() => void)[] = [];

    before(async function () {
        this.timeout(60_000);
        const binary = toolPath("consul");
        if (!binary) return this.skip();
        const ports = "ports { grpc = -1, grpc_tls = -1, dns = -1 }";
        agent = spawn(
            binary,
            ["agent", "-dev", "-log-level=error", `-bind=${ADDRESS}`, `-client=${ADDRESS}`, "-hcl", ports],
            {
                stdio: "ignore",
            },
        );
        const consul = new ConsulHttp({ addresses: [`http://${ADDRESS}:8500`], timeoutSeconds: 1 });
        const deadline = Date.now() + 30_000;
        while ((await consul.get<string>("/v1/status/leader").catch(() => "")) === "") {
            if (Date.now() > deadline || agent.exitCode !== null) throw new Error("the Consul agent does not answer");
            await delay(100);
        }
        for (const start of starts) start();
        // Each scenario's failure is told by its own test.
        for (const running of scenarios.values()) running.catch(() => undefined);
    });

    after(async function () {
        this.timeout(30_000);
        for (const group of groups) await group.end();
        if (!agent || agent.exitCode !== null) return;
        const ended = once(agent, "exit");
        agent.kill("SIGKILL");
        await ended;
    });

    scenario("a leader that is stopped and goes on again is the leader no more", 3, async (group) => {
        const first = await group.leader(1);
        assert.equal(engineProcesses(group.name).length, 1);
        first.process.kill("SIGSTOP");
        const second = await group.leader(2);
        assert.notEqual(second, first);
        const before = group.lines().length;
        first.process.kill("SIGCONT");
        const later = () => group.lines().slice(before);
        await group.until("the first one to notice", () =>
            later().some(({ pid, event }) => pid === first.process.pid && event?.kind === "lost"),
        );
        await group.until("the first one's child to be dead", () =>
            engineProcesses(group.name).every(({ daemon }) => daemon === String(second.process.pid)),
        );
    });

    scenario("a leader that is cut off stops itself before another one leads", 3, async (group) => {
        const first = await group.leader(1);
        first.link.cut();
        const second = await group.leader(2);
        assert.notEqual(second, first);
        const lines = group.lines();
        const lost = lines.find(({ pid, event }) => pid === first.process.pid && event?.kind === "lost");
        const elected = lines.find(({ event }) => event?.kind === "elected" && event.epoch === 2);
        assert.ok(lost && elected && lost.at < elected.at, "it has to stop itself first");
        first.link.mend();
        await group.until("the first one to stand by", () =>
            group
                .lines()
                .some(
                    ({ pid, at, event }) => pid === first.process.pid && at > elected.at && event?.kind === "standby",
                ),
        );
    });

    scenario("another daemon takes over from a leader that was killed", 2, async (group) => {
        const first = await group.leader(1);
        first.process.kill("SIGKILL");
        assert.notEqual(await group.leader(2), first);
    });

    scenario("a daemon that is started again ends its predecessor's child and leads at once", 1, async (group) => {
        const first = await group.leader(1);
        const [child] = engineProcesses(group.name);
        assert.ok(child);
        const ended = once(first.process, "exit");
        first.process.kill("SIGKILL");
        await ended;
        first.process = group.spawn(first.url, first.name);
        await group.leader(2);
        const stoodBy = group
            .lines()
            .filter(({ pid, event }) => pid === first.process.pid && event?.kind === "standby");
        assert.deepEqual(stoodBy, [], "it need not wait until its predecessor's session has ended");
        assert.ok(engineProcesses(group.name).every(({ pid }) => pid !== child.pid));
    });

    scenario("a leader that is told to stop hands over at once", 2, async (group) => {
        const first = await group.leader(1);
        first.process.kill("SIGTERM");
        assert.notEqual(await group.leader(2), first);
        assert.ok(group.lines().some(({ pid, event }) => pid === first.process.pid && event?.kind === "released"));
    });
});
