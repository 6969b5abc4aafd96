import { setTimeout as delay } from "node:timers/promises";

/** A clock. Simulations have their own. */
export interface Clock {
    /** Seconds since 1970. */
    now(): number;
    /** Waits. Returns early when the signal is aborted. */
    sleep(seconds: number, signal: AbortSignal): Promise<void>;
}

/** A clock that also measures durations, independent of changes to the time of day. */
export interface Stopwatch extends Clock {
    /** Seconds since an arbitrary moment. Never goes back, and continues while the process is suspended. */
    elapsed(): number;
}

/** This computer's clock. */
export const systemClock: Stopwatch = {
    now: () => Date.now() / 1000,
    elapsed: () => Number(process.hrtime.bigint()) / 1e9,
    sleep: (seconds, signal) =>
        delay(seconds * 1000, undefined, { signal }).catch((error) => {
            if (!signal.aborted) throw error;
        }),
};
