/** What the load generator itself can do, against a server that does next to nothing and no balancer. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Generator } from "./load/generator";
import { type Mix, mixes } from "./matrix";
import { CONCURRENCY, CONNECTIONS, DEADLINE_MS } from "./measure";
import type { CeilingRecord } from "./records";
import { usageOf } from "./usage";

/** Where the server listens: an address that no machine of a deployment has. */
const SERVER = { host: "127.96.0.9", port: 9190 } as const;
/** The rate that an open loop has to keep, calls per second: what is asked of the generator, and a connection each. */
const OPEN_RATE: Readonly<Record<Mix, number>> = { kept: 20_000, perCall: 4_000 };

/** Measures both connection mixes, each for so many seconds, twice. */
export async function measureCeiling(seconds: number, signal: AbortSignal): Promise<CeilingRecord[]> {
    const server = fork(join(__dirname, "load/nullServer.ts"), [SERVER.host, String(SERVER.port)], {
        execArgv: ["--require", require.resolve("tsx/cjs")],
    });
    const generator = new Generator();
    try {
        await new Promise((resolve, reject) => {
            server.once("message", resolve);
            server.once("exit", () => reject(new Error(`no server could be started on ${SERVER.host}`)));
        });
        const records: CeilingRecord[] = [];
        for (const mix of mixes) records.push(await ceiling(generator, mix, seconds, signal));
        return records;
    } finally {
        await generator.close();
        server.disconnect();
    }
}

async function ceiling(generator: Generator, mix: Mix, seconds: number, signal: AbortSignal): Promise<CeilingRecord> {
    const options = {
        addresses: [`${SERVER.host}:${SERVER.port}`],
        connection: mix,
        connections: CONNECTIONS,
        deadlineMs: DEADLINE_MS,
    };
    const counted = async (load: { stop(): ReturnType<Awaited<ReturnType<Generator["start"]>>["stop"]> }) => {
        const before = usageOf(generator.pid).cpuSeconds;
        await delay(seconds * 1000, undefined, { signal });
        const cores = (usageOf(generator.pid).cpuSeconds - before) / seconds;
        return { report: await load.stop(), cores: Number(cores.toFixed(2)) };
    };
    await counted(await generator.saturate({ ...options, concurrency: CONCURRENCY }));
    const at = new Date().toISOString();
    const closed = await counted(await generator.saturate({ ...options, concurrency: CONCURRENCY }));
    const rate = OPEN_RATE[mix];
    const open = await counted(await generator.start({ ...options, ratePerSecond: rate }));
    const { started, failed, latencyMs } = open.report;
    return {
        kind: "ceiling",
        at,
        mix,
        perSecond: Math.round((closed.report.ok * 1000) / closed.report.durationMs),
        cores: closed.cores,
        open: { rate, cores: open.cores, started, failed, ...(latencyMs ? { latency: latencyMs } : {}) },
    };
}
