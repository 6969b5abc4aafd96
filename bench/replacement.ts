/**
 * `npm run bench:loop`: what the replacement loop itself costs, against simulated APIs over local HTTP: Consul, two
 * balancers and OpenStack's compute service, with pools of several sizes. The figures are for reading.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { systemClock } from "../replacement/clock";
import { decide } from "../replacement/decide";
import { consulDesk } from "../replacement/desk";
import { memoryJournal } from "../replacement/journal";
import { type LoopParts, runLoop } from "../replacement/loop";
import { emptyMemory } from "../replacement/memory";
import { observeWith } from "../replacement/observe";
import { ConsulHttp } from "../replacement/observers/consul";
import { CloudSession } from "../replacement/observers/keystone";
import { novaControlPlane } from "../replacement/observers/nova";
import { consulWake } from "../replacement/observers/watch";
import { defaultPolicy } from "../replacement/policy";
import { consulStore, memoryStore } from "../replacement/store";
import { nodeFlags } from "../roles/replacer";
import { heading, runCommand, say } from "../scripts/console";
import { FakeOpenStack, novaServer } from "../tests/unit/support/openstack";

/** The simulated APIs with a pool of `size` servers, of which the last passes only when told to. */
class Apis {
    readonly cloud = new FakeOpenStack();
    url = "";
    /** Whether the last gateway passes in Consul and at the balancers. */
    lastPasses = true;
    private index = 1;
    private readonly waiting = new Set<() => void>();
    private readonly directory = mkdtempSync(join(tmpdir(), "bench-loop-"));
    private readonly server = http.createServer((request, response) => void this.answer(request, response));

    constructor(readonly size: number) {}

    readonly slots = () =>
        Array.from({ length: this.size }, (_, at) => ({
            ...{ name: `gw-${at}`, urn: `urn:gw-${at}`, serverId: `server-${at}`, address: address(at) },
        }));

    async start(): Promise<this> {
        await this.cloud.start();
        this.cloud.pageSize = 1000;
        this.cloud.servers = this.slots().map(({ serverId: id, name }) => {
            const metadata = { "gateway-deployment": "bench", "gateway-slot": name, "gateway-epoch": "1" };
            return novaServer({ id, name, metadata });
        });
        await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
        this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
        writeFileSync(join(this.directory, "secret"), "secret", { mode: 0o600 });
        return this;
    }

    stop(): void {
        this.cloud.stop();
        this.server.close();
        this.server.closeAllConnections();
        rmSync(this.directory, { recursive: true });
    }

    /** Lets the last gateway pass or not, and tells whoever waits for a change. */
    turn(passes: boolean): void {
        this.lastPasses = passes;
        this.index++;
        for (const wake of this.waiting) wake();
    }

    /** All observers of these APIs. */
    observe() {
        const session = new CloudSession({
            authUrl: `${this.cloud.url}/identity`,
            credentialId: "bench",
            secretFile: join(this.directory, "secret"),
            region: "RegionOne",
            timeoutSeconds: 5,
        });
        const consul = new ConsulHttp({ addresses: [this.url], timeoutSeconds: 5 });
        return observeWith({
            deployment: { pool: async () => ({ slots: this.slots() }) },
            controlPlane: novaControlPlane(session, { deployment: "bench", pageSize: 1000 }),
            consul,
            service: "gateway",
            balancers: ["lb-0", "lb-1"].map((name) => ({ name, url: `${this.url}/${name}` })),
            store: consulStore(consul),
            desk: consulDesk(consul),
            clock: systemClock,
            timeoutSeconds: 5,
        });
    }

    private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
        const url = new URL(request.url ?? "", "http://localhost");
        const waits = url.searchParams.get("wait") !== null && url.searchParams.get("index") === String(this.index);
        if (waits) {
            await new Promise<void>((resolve) => {
                const wake = () => {
                    this.waiting.delete(wake);
                    resolve();
                };
                this.waiting.add(wake);
                request.on("close", wake);
            });
        }
        const headers = { "X-Consul-Index": String(this.index), "X-Consul-KnownLeader": "true" };
        if (url.pathname === "/v1/status/leader") response.writeHead(200, headers).end('"127.0.0.1:8300"');
        else if (url.pathname.startsWith("/v1/health/service/")) {
            response
                .writeHead(200, headers)
                .end(JSON.stringify(this.slots().map(({ name }, at) => this.entry(name, at))));
        } else if (url.pathname.startsWith("/lb-")) response.writeHead(200).end(this.csv());
        else response.writeHead(404, headers).end();
    }

    private passes(at: number): boolean {
        return at < this.size - 1 || this.lastPasses;
    }

    private entry(name: string, at: number) {
        const status = this.passes(at) ? "passing" : "critical";
        return {
            Node: { Node: name, Address: address(at), Meta: { "consul-network-segment": "" } },
            Service: { ID: "gateway", Service: "gateway", Address: address(at), Port: 9190, Meta: {} },
            Checks: [
                { CheckID: "serfHealth", Status: "passing", Output: "Agent alive and reachable" },
                { CheckID: "service:gateway", Status: status, Output: "HTTP GET: 200 OK" },
            ],
        };
    }

    private csv(): string {
        const rows = this.slots().map(
            (_, at) => `gateways,s${at},${this.passes(at) ? "UP" : "DOWN"},${address(at)}:9190,`,
        );
        return ["# pxname,svname,status,addr,", "gateways,BACKEND,UP,,", ...rows].join("\n");
    }
}

function address(at: number): string {
    return `10.0.${Math.floor(at / 250)}.${1 + (at % 250)}`;
}

function percentile(values: readonly number[], share: number): number {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Rounds of observing and deciding. */
async function rounds(size: number, count: number): Promise<void> {
    const apis = await new Apis(size).start();
    try {
        const observe = apis.observe();
        let memory = emptyMemory;
        const times: number[] = [];
        let cpu = process.cpuUsage();
        for (let round = -20; round < count; round++) {
            if (round === 0) cpu = process.cpuUsage();
            const start = systemClock.elapsed();
            const decision = decide(await observe(false), memory, defaultPolicy);
            if (round >= 0) times.push((systemClock.elapsed() - start) * 1000);
            memory = decision.memory;
            if (decision.slots.some(({ condition }) => condition !== "healthy"))
                throw new Error("a slot is not healthy");
        }
        const { user, system } = process.cpuUsage(cpu);
        const each = (user + system) / 1000 / count;
        say(
            `${String(size).padStart(4)} servers  ${percentile(times, 0.5).toFixed(1)} ms median, ` +
                `${percentile(times, 0.99).toFixed(1)} ms at 99 %, ${each.toFixed(1)} ms of CPU (with the simulated APIs, in the same process)`,
        );
    } finally {
        apis.stop();
    }
}

/** An engine that is never asked to replace anything. */
const idleEngine: LoopParts["engine"] = {
    pool: async () => ({ slots: [] }),
    previewReplace: async () => [],
    replace: async () => undefined,
};

/** From a new server's first pass to the decision that knows it, with the intervals of a cloud. */
async function reaction(trials: number): Promise<void> {
    const apis = await new Apis(2).start();
    const stop = new AbortController();
    try {
        apis.turn(false);
        let told: ((condition: string | undefined) => void) | undefined;
        const options = { addresses: [apis.url], timeoutSeconds: 5 };
        const parts: LoopParts = {
            observe: apis.observe(),
            store: memoryStore(),
            engine: idleEngine,
            journal: memoryJournal(),
            policy: { ...defaultPolicy, paused: true },
            clock: systemClock,
            signal: stop.signal,
            wake: consulWake(options, "gateway", systemClock),
            onDecision: ({ slots }) => told?.(slots.at(-1)?.condition),
        };
        const running = runLoop(parts);
        const times: number[] = [];
        for (let trial = 0; trial < trials; trial++) {
            for (const passes of [true, false]) {
                // At any moment of the loop's interval.
                await delay(1100 + ((trial * 617) % 1900));
                const start = systemClock.elapsed();
                const decided = new Promise<void>((resolve) => {
                    told = (condition) => {
                        if ((condition === "healthy") === passes) resolve();
                    };
                });
                apis.turn(passes);
                await decided;
                if (passes) times.push((systemClock.elapsed() - start) * 1000);
            }
        }
        stop.abort();
        await running;
        say(
            `${trials} trials  ${percentile(times, 0.5).toFixed(0)} ms median, ${Math.max(...times).toFixed(0)} ms at most ` +
                `(interval ${defaultPolicy.intervalSeconds} s)`,
        );
    } finally {
        stop.abort();
        apis.stop();
    }
}

/** The memory of a daemon that leads a healthy pool, with the whole program loaded as the daemon has it. */
async function idleMemory(seconds: number): Promise<void> {
    const apis = await new Apis(20).start();
    // The daemon's own modules, bundled as they are on a machine or run from their sources as on this computer.
    const child = spawn(
        process.execPath,
        [...nodeFlags, "--import", "tsx", __filename, "idle", apis.url, apis.cloud.url],
        {
            stdio: ["ignore", "inherit", "inherit"],
        },
    );
    try {
        await delay(seconds * 1000);
        const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
        const megabytes = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
        const threads = /Threads:\s+(\d+)/.exec(status)?.[1];
        const ticks = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
        const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
        const cpu = (Number(stat[11]) + Number(stat[12])) / ticks;
        say(
            `after ${seconds} s  ${megabytes("VmRSS").toFixed(0)} MiB resident, ${megabytes("RssAnon").toFixed(0)} MiB of it its own, ` +
                `${threads} threads, ${cpu.toFixed(1)} s of CPU with its start`,
        );
    } finally {
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
        apis.stop();
    }
}

/** In a process of its own: the loop on the simulated APIs of another one, with everything loaded that a daemon loads. */
async function idle(consulUrl: string, cloudUrl: string): Promise<void> {
    require("../scripts/engine");
    require("../replacement/daemon");
    const apis = new Apis(20);
    apis.url = consulUrl;
    apis.cloud.url = cloudUrl;
    await runLoop({
        observe: apis.observe(),
        store: memoryStore(),
        engine: idleEngine,
        journal: memoryJournal(),
        policy: defaultPolicy,
        clock: systemClock,
        signal: new AbortController().signal,
    });
}

async function main(options: {
    readonly rounds: number;
    readonly trials: number;
    readonly idle: number;
}): Promise<void> {
    heading("one round of observing and deciding");
    for (const size of [2, 20, 200]) await rounds(size, options.rounds);
    heading("from a new server's first pass to the next decision");
    await reaction(options.trials);
    heading("memory of an idle daemon");
    await idleMemory(options.idle);
}

const command = new Command("bench:loop")
    .option("--rounds <n>", "rounds of each pool", Number, 200)
    .option("--trials <n>", "servers that begin to pass", Number, 10)
    .option("--idle <seconds>", "how long the idle daemon is watched", Number, 60)
    .action((options) => runCommand(() => main(options), ""));
command
    .command("idle", { hidden: true })
    .argument("<consul>")
    .argument("<cloud>")
    .action((consul: string, cloud: string) => idle(consul, cloud));
void command.parseAsync();
