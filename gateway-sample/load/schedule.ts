/** The schedule of an open loop. */

/**
 * Number of calls that should have started by now, at even intervals from 0.
 *
 * @param elapsedMs since the start of the schedule, milliseconds. Negative: no call is due.
 * @param ratePerSecond calls per second.
 */
export function callsDue(elapsedMs: number, ratePerSecond: number): number {
    return elapsedMs < 0 ? 0 : Math.floor((elapsedMs * ratePerSecond) / 1000 + 1e-9) + 1;
}

/** Intended start of a call, counted from 0, in milliseconds since the start of the schedule. */
export function intendedStart(call: number, ratePerSecond: number): number {
    return (call * 1000) / ratePerSecond;
}

/** Calls a function repeatedly. @returns a function that stops it. */
export type Ticker = (tick: () => void) => () => void;

/** Ticks of Node's own timer, about every 1.1 ms. */
export const timerTicks: Ticker = (tick) => {
    const timer = setInterval(tick, 1);
    return () => clearInterval(timer);
};
