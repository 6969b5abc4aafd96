/** Takes a balancer out of service before it is stopped. */
import { setTimeout as delay } from "node:timers/promises";
import { Runtime } from "./runtime";
import type { ReconcilerSettings } from "./settings";

/** Pause between two looks, milliseconds. */
const LOOK_EVERY = 50;

/**
 * Closes the port that clients call, so that they go to the other balancers, and waits until the calls under way have
 * ended, `stopTimeout` at most. Connections that stay open without a call wait for the end of that time.
 *
 * @returns how many connections are left.
 * @throws RuntimeError when HAProxy does not answer.
 */
export async function stopBalancer(settings: ReconcilerSettings): Promise<number> {
    const runtime = new Runtime(settings.socket);
    const deadline = Date.now() + settings.stopTimeout;
    await runtime.order(`shutdown frontend ${settings.frontend}`, /^$|already/i);
    for (;;) {
        const [heading = "", line = ""] = (await runtime.ask(`show stat ${settings.frontend} 1 -1`)).split("\n");
        const open = Number(line.split(",")[heading.split(",").indexOf("scur")] ?? 0);
        if (open === 0 || Number.isNaN(open) || Date.now() >= deadline) return open || 0;
        await delay(LOOK_EVERY);
    }
}
