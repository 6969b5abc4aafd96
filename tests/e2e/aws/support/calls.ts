/** Load while something happens, and what became of the calls. */
import { type Load, type LoadOptions, type Report, startLoad } from "../../../../bench/load";
import { waitFor } from "../../../../supervisor/wait";

/** Calls a second of each kind: the tests are about what fails, not how much goes through. */
const RATE = 25;
/** Deadline of a call, milliseconds: long, because one busy computer runs a whole cloud, and what is slow is not what fails. */
const DEADLINE = 3_000;
/** Calls that have to be answered before and after. */
const ENOUGH = 50;
const ENOUGH_TIMEOUT = 60_000;

/** Who calls: some calls are tried once, others repeated by the project's client. */
export interface Callers {
    /** `host:port` for calls that are tried once, each on a connection of its own. */
    readonly raw: string;
    /** `host:port` of each address that the repeating client holds. */
    readonly repeated: readonly string[];
}

/** What became of the calls. */
export interface Calls {
    readonly raw: Report;
    readonly repeated: Report;
}

/** Calls go on while something is done, and for some time after it. */
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

/** The calls that failed, in a form that a test's message can show. */
export function failuresOf({ failures, started }: Report): string[] {
    const some = failures.slice(0, 5).map(({ address, error }) => `${address}: ${error}`);
    return failures.length === 0 ? [] : [`${failures.length} of ${started}`, ...some];
}
