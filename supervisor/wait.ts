import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits until a condition holds.
 *
 * @param what what is waited for, for the message.
 * @param condition returns something other than undefined or false once it holds; an exception counts as "not yet".
 * @param timeout deadline in milliseconds.
 * @param interval milliseconds between two looks.
 * @returns what the condition returned.
 * @throws Error that names what was waited for, how long, and the last reason why not.
 */
export async function waitFor<T>(
    what: string,
    condition: () => T | undefined | false | Promise<T | undefined | false>,
    timeout: number,
    interval = 50,
): Promise<T> {
    const deadline = Date.now() + timeout;
    let reason = "";
    for (;;) {
        try {
            const result = await condition();
            if (result !== undefined && result !== false) return result;
            reason = "";
        } catch (error) {
            reason = `: ${(error as Error).message}`;
        }
        if (Date.now() >= deadline) throw new Error(`${what} took longer than ${timeout / 1000} s${reason}`);
        await delay(interval);
    }
}
