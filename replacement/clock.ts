import { setTimeout as delay } from "node:timers/promises";

/** Time, so that simulations can have their own. */
export interface Clock {
    /** Seconds since 1970. */
    now(): number;
    /** Waits, and returns early when the signal is aborted. */
    sleep(seconds: number, signal: AbortSignal): Promise<void>;
}

/** This computer's clock. */
export const systemClock: Clock = {
    now: () => Date.now() / 1000,
    sleep: (seconds, signal) =>
        delay(seconds * 1000, undefined, { signal }).catch((error) => {
            if (!signal.aborted) throw error;
        }),
};
