/**
 * `npm run bench:loop`: measures the replacement loop itself, with pools of several sizes. It runs against simulated APIs
 * over local HTTP: Consul, two balancers and OpenStack's compute service.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { ConsulHttp } from "../clients/consul";
import { CloudSession } from "../clients/keystone";
import { systemClock } from "../lib/clock";
import { decide } from "../replacement/core/decide";
import { emptyMemory } from "../replacement/core/loopMemory";
import { defaultPolicy } from "../replacement/core/policy";
import { memoryJournal } from "../replacement/journal";
import { type LoopParts, runLoop } from "../replacement/loop";
import { novaControlPlane } from "../replacement/observe/nova";
import { observeWith } from "../replacement/observe/observers";
import { consulWake } from "../replacement/observe/wake";
import { consulCommands } from "../replacement/operatorCommands";
import { consulStore, memoryStore } from "../replacement/store";
import { nodeFlags } from "../roles/replacer";
import { heading, runCommand, say } from "../scripts/console";
import { FakeOpenStack, novaServer } from "./fakes/openstackApi";

/** The simulated APIs, with a pool of `size` servers. The health of the last one can change. */
class SimulatedApis {
    readonly cloud = new FakeOpenStack();
    url = "";
    /** Whether the last gateway passes in Consul and on the balancers. */
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

    /** Changes the health of the last gateway, and answers the blocking queries. */
    turn(passes: boolean): void {
        this.lastPasses = passes;
        this.index++;
        for (const wake of this.waiting) wake();
    }

    /** Observes these APIs. */
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
            commands: consulCommands(consul),
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

/** Measures rounds of observing and deciding. */
async function measureRounds(size: number, count: number): Promise<void> {
    const apis = await new SimulatedApis(size).start();
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
                `${percentile(times, 0.99).toFixed(1)} ms at 99 %, ${each.toFixed(1)} ms of CPU (including the simulated APIs)`,
        );
    } finally {
        apis.stop();
    }
}

/** An engine for a loop that replaces nothing. */
const idleEngine: LoopParts["engine"] = {
    pool: async () => ({ slots: [] }),
    previewReplace: async () => [],
    replace: async () => undefined,
};

/**
 * Measures the time from a server's first pass to the decision that takes it into account, with the intervals of a
 * cloud.
 */
async function measureReaction(trials: number): Promise<void> {
    const apis = await new SimulatedApis(2).start();
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
                // Spread over the loop's interval.
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

/** Measures the memory of a leading daemon with a healthy pool. It has the whole program loaded. */
async function measureIdleMemory(seconds: number): Promise<void> {
    const apis = await new SimulatedApis(20).start();
    // From the sources. A deployed loop is compiled.
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
            `after ${seconds} s  ${megabytes("VmRSS").toFixed(0)} MiB resident, ${megabytes("RssAnon").toFixed(0)} MiB of it private, ` +
                `${threads} threads, ${cpu.toFixed(1)} s of CPU including the start`,
        );
    } finally {
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
        apis.stop();
    }
}

/** Runs in a child process: the loop on its parent's simulated APIs, with all modules that the daemon loads. */
async function runIdleLoop(consulUrl: string, cloudUrl: string): Promise<void> {
    require("../engine/stack");
    require("../programs/replacer/daemon");
    const apis = new SimulatedApis(20);
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
    heading("One round of observing and deciding");
    for (const size of [2, 20, 200]) await measureRounds(size, options.rounds);
    heading("From a new server's first pass to the next decision");
    await measureReaction(options.trials);
    heading("Memory of an idle daemon");
    await measureIdleMemory(options.idle);
}

const command = new Command("bench:loop")
    .option("--rounds <n>", "rounds for each pool", Number, 200)
    .option("--trials <n>", "servers that start to pass", Number, 10)
    .option("--idle <seconds>", "duration of the idle daemon", Number, 60)
    .action((options) => runCommand(() => main(options), ""));
command
    .command("idle", { hidden: true })
    .argument("<consul>")
    .argument("<cloud>")
    .action((consul: string, cloud: string) => runIdleLoop(consul, cloud));
void command.parseAsync();
