/** When calls are meant to start. */

/**
 * How many calls of an even schedule, the first at 0, should have started.
 *
 * @param elapsedMs since the schedule began, milliseconds; nothing is due before that.
 * @param ratePerSecond calls per second.
 */
export function callsDue(elapsedMs: number, ratePerSecond: number): number {
    return elapsedMs < 0 ? 0 : Math.floor((elapsedMs * ratePerSecond) / 1000 + 1e-9) + 1;
}

/** When a call of that schedule, counted from 0, is meant to start, milliseconds since the schedule began. */
export function intendedStart(call: number, ratePerSecond: number): number {
    return (call * 1000) / ratePerSecond;
}

/** What calls a function over and over. @returns what ends that. */
export type Ticker = (tick: () => void) => () => void;

/** Node's own timer: as often as it can, which is every 1.1 ms. */
export const timerTicks: Ticker = (tick) => {
    const timer = setInterval(tick, 1);
    return () => clearInterval(timer);
};
