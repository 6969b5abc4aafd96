/** Wakes the loop when something about the gateways changes in Consul, so that it need not look often. */
import type { Clock } from "../clock";
import { ConsulHttp, type ConsulOptions } from "./consul";

/** Waits until something has changed since the last look, or the signal is aborted. Does not throw. */
export type Wake = (signal: AbortSignal) => Promise<void>;

/** How long one question waits for a change, in seconds. Consul adds up to a sixteenth. */
const WAIT = 55;
/** After an error it is asked again so much later, in seconds: then looking at intervals has to do. */
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
                // An index that goes back says that Consul's state was restored: then everything may have changed.
                const changed = seen !== index;
                index = Number(seen) < Number(index) ? "0" : seen;
                if (changed) return;
            } catch {
                await clock.sleep(RETRY, signal);
            }
        }
    };
}
