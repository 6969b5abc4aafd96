/** Wakes the loop when the gateways' health changes in Consul, so that it need not poll often. */

import { ConsulHttp, type ConsulOptions } from "../../clients/consul";
import type { Clock } from "../../lib/clock";

/** Waits until something has changed since the last call, or the signal is aborted. Does not throw. */
export type Wake = (signal: AbortSignal) => Promise<void>;

/** How long one query waits for a change, in seconds. Consul adds up to a sixteenth. */
const WAIT = 55;
/** Wait after an error, in seconds. The loop's interval applies meanwhile. */
const RETRY = 10;

/** A {@link Wake} by Consul's blocking queries on the health of a service. */
export function consulWake(options: ConsulOptions, service: string, clock: Clock): Wake {
    const consul = new ConsulHttp({ ...options, timeoutSeconds: WAIT + 10 });
    let index = "0";
    return async (signal) => {
        while (!signal.aborted) {
            try {
                const path = `/v1/health/service/${encodeURIComponent(service)}?wait=${WAIT}s&index=${index}`;
                const answer = await consul.ask(path, "GET", undefined, signal);
                const seen = String(answer.headers["x-consul-index"] ?? "0");
                // A decreasing index means that Consul's state was restored, so everything may have changed.
                const changed = seen !== index;
                index = Number(seen) < Number(index) ? "0" : seen;
                if (changed) return;
            } catch {
                await clock.sleep(RETRY, signal);
            }
        }
    };
}
