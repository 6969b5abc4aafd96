import { setTimeout as delay } from "node:timers/promises";

/** Time, so that simulations can have their own. */
export interface Clock {
    /** Seconds since 1970. */
    now(): number;
    /** Waits, and returns early when the signal is aborted. */
    sleep(seconds: number, signal: AbortSignal): Promise<void>;
}

/** A clock that can also measure how long something took, whatever is done to the time of day. */
export interface Stopwatch extends Clock {
    /**
     * Seconds since some moment. It goes on while the process is stopped, and never back.
     */
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
