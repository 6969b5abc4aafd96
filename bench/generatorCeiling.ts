/** The most that the load generator itself can do, against a server that does almost nothing and without a balancer. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { LoadGenerator } from "../gateway-sample/load/generator";
import type { CeilingRecord } from "./benchRecords";
import { CALL_DEADLINE_MS, CONCURRENCY, MAX_CONNECTIONS } from "./comparisonTrial";
import { processUsage } from "./processUsage";
import { type Mix, mixes } from "./trialMatrix";

/** Where the server listens. No machine of a deployment has this address. */
const SERVER = { host: "127.96.0.9", port: 9190 } as const;
/** The rate that the open loop must sustain, calls per second. */
const OPEN_RATE: Readonly<Record<Mix, number>> = { kept: 20_000, perCall: 4_000 };

/** Measures both connection mixes, each as a closed and as an open loop, for `seconds` each. */
export async function measureCeiling(seconds: number, signal: AbortSignal): Promise<CeilingRecord[]> {
    const server = fork(join(__dirname, "../gateway-sample/load/nullServer.ts"), [SERVER.host, String(SERVER.port)], {
        execArgv: ["--require", require.resolve("tsx/cjs")],
    });
    const generator = new LoadGenerator();
    try {
        await new Promise((resolve, reject) => {
            server.once("message", resolve);
            server.once("exit", () => reject(new Error(`cannot start a server on ${SERVER.host}`)));
        });
        const records: CeilingRecord[] = [];
        for (const mix of mixes) records.push(await ceiling(generator, mix, seconds, signal));
        return records;
    } finally {
        await generator.close();
        server.disconnect();
    }
}

async function ceiling(
    generator: LoadGenerator,
    mix: Mix,
    seconds: number,
    signal: AbortSignal,
): Promise<CeilingRecord> {
    const options = {
        addresses: [`${SERVER.host}:${SERVER.port}`],
        connection: mix,
        connections: MAX_CONNECTIONS,
        deadlineMs: CALL_DEADLINE_MS,
    };
    const counted = async (load: { stop(): ReturnType<Awaited<ReturnType<LoadGenerator["start"]>>["stop"]> }) => {
        const before = processUsage(generator.pid).cpuSeconds;
        await delay(seconds * 1000, undefined, { signal });
        const cores = (processUsage(generator.pid).cpuSeconds - before) / seconds;
        return { report: await load.stop(), cores: Number(cores.toFixed(2)) };
    };
    await counted(await generator.startClosedLoop({ ...options, concurrency: CONCURRENCY }));
    const at = new Date().toISOString();
    const closed = await counted(await generator.startClosedLoop({ ...options, concurrency: CONCURRENCY }));
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
