/**
 * A ticker that is finer than Node's timers, whose millisecond would dominate the measured latency. A thread sleeps on a
 * futex and then wakes this one. It uses about a seventh of a core.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { Ticker } from "./schedule";

/** Interval of the ticks, milliseconds. On an idle computer a call starts late by half of it on average. */
export const TICK_MS = 0.5;

interface Shared {
    readonly marker: "bench-metronome";
    /** 1 while there is a listener. */
    readonly active: Int32Array;
}

/**
 * Starts the thread. This takes some tenths of a second, so call it before a load.
 *
 * @returns a ticker for any number of loads. It skips late ticks. The thread sleeps while there is no load.
 */
export async function metronome(): Promise<Ticker> {
    const active = new Int32Array(new SharedArrayBuffer(4));
    const ticks = new Set<() => void>();
    // The worker compiles this file with tsx.
    const worker = new Worker(
        `require(${JSON.stringify(require.resolve("tsx/cjs"))}); require(${JSON.stringify(__filename)});`,
        { eval: true, workerData: { marker: "bench-metronome", active } satisfies Shared },
    );
    const turn = (on: 0 | 1) => {
        Atomics.store(active, 0, on);
        Atomics.notify(active, 0);
    };
    worker.on("message", () => {
        for (const tick of ticks) tick();
    });
    worker.on("error", (error) => {
        throw error;
    });
    turn(1);
    await new Promise((resolve) => worker.once("message", resolve));
    turn(0);
    worker.unref();
    return (tick) => {
        ticks.add(tick);
        turn(1);
        return () => {
            ticks.delete(tick);
            if (ticks.size === 0) turn(0);
        };
    };
}

function beat({ active }: Shared): void {
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (let next = performance.now(); ; ) {
        Atomics.wait(active, 0, 0);
        next = Math.max(next + TICK_MS, performance.now());
        const wait = next - performance.now();
        if (wait > 0) Atomics.wait(never, 0, 0, wait);
        parentPort?.postMessage(0);
    }
}

if (!isMainThread && (workerData as Partial<Shared> | undefined)?.marker === "bench-metronome")
    beat(workerData as Shared);
