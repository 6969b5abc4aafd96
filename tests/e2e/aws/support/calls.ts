/** Load during an operation, and the results of the calls. */
import { type Load, type LoadOptions, type Report, startLoad } from "../../../../gateway-sample/load";
import { waitFor } from "../../../../lib/wait";

/** Calls per second of each kind. The tests are about failures, not throughput. */
const RATE = 25;
/**
 * Deadline of a call, milliseconds. It is long, because one busy computer runs a whole cloud, and a slow call is not a
 * failure.
 */
const DEADLINE = 3_000;
/** Number of calls that must succeed before and after. */
const ENOUGH = 50;
const ENOUGH_TIMEOUT = 60_000;

/** The callers: some calls are tried once, others are repeated by the project's client. */
export interface Callers {
    /** `host:port` for calls that are tried once, each on a new connection. */
    readonly raw: string;
    /** `host:port` of each address of the repeating client. */
    readonly repeated: readonly string[];
}

/** The results of the calls. */
export interface Calls {
    readonly raw: Report;
    readonly repeated: Report;
}

/** Sends calls during an operation, and for some time after it. */
export async function during(callers: Callers, work: () => Promise<unknown>): Promise<Calls> {
    const start = (options: Pick<LoadOptions, "addresses" | "raw">) =>
        startLoad({ ratePerSecond: RATE, deadlineMs: DEADLINE, ...options });
    const loads = {
        raw: start({ addresses: [callers.raw], raw: true }),
        repeated: start({ addresses: callers.repeated, raw: false }),
    };
    const more = (load: Load) => {
        const { ok } = load.live;
        return waitFor("calls to be answered", () => load.live.ok >= ok + ENOUGH, ENOUGH_TIMEOUT);
    };
    try {
        await Promise.all([more(loads.raw), more(loads.repeated)]);
        await work();
        await Promise.all([more(loads.raw), more(loads.repeated)]);
    } finally {
        await Promise.all([loads.raw.stop(), loads.repeated.stop()]);
    }
    return { raw: await loads.raw.stop(), repeated: await loads.repeated.stop() };
}

/** The calls that failed, as text for a test's message. */
export function failuresOf({ failures, started }: Report): string[] {
    const some = failures.slice(0, 5).map(({ address, error }) => `${address}: ${error}`);
    return failures.length === 0 ? [] : [`${failures.length} of ${started}`, ...some];
}
