import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits until a condition holds.
 *
 * @param what names the condition in the error's message.
 * @param condition returns something other than undefined or false once it holds. An exception counts as "not yet".
 * @param timeout deadline in milliseconds.
 * @param interval milliseconds between two checks.
 * @returns what the condition returned.
 * @throws Error with the condition's name, the timeout and the last exception's message.
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
