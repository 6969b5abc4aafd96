/**
 * Ticks that are finer than Node's timers, whose millisecond would be most of the latency that is measured here: a
 * thread that sleeps on a futex and then wakes this one. Costs about a seventh of a core.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { Ticker } from "./schedule";

/** Milliseconds between two ticks: the most by which a call starts late on an idle machine, a quarter on average. */
export const TICK_MS = 0.5;

const marker = "bench-metronome";

/** Ticks every {@link TICK_MS}; late ones are left out. */
export const metronome: Ticker = (tick) => {
    // Compiled on the way by whatever compiled this file.
    const worker = new Worker(
        `require(${JSON.stringify(require.resolve("tsx/cjs"))}); require(${JSON.stringify(__filename)});`,
        { eval: true, workerData: marker },
    );
    worker.on("message", tick);
    worker.on("error", (error) => {
        throw error;
    });
    return () => void worker.terminate();
};

function beat(): void {
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (let next = performance.now(); ; ) {
        next = Math.max(next + TICK_MS, performance.now());
        const wait = next - performance.now();
        if (wait > 0) Atomics.wait(never, 0, 0, wait);
        parentPort?.postMessage(0);
    }
}

if (!isMainThread && workerData === marker) beat();
