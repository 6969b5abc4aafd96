/** The goals, and whether a run reached each. */

import type { BenchRecord, FaultOutcome, FaultRecord } from "../benchRecords";
import { type Mix, mixes, stackVariants } from "../trialMatrix";
import { mixLabels } from "./style";
import { coresOf, latencySummaries, recordsOfKind, sum } from "./summaries";

/** A goal for a stack, with the measurement. */
export interface Verdict {
    readonly goal: string;
    readonly variant: string;
    /** Undefined when the run did not measure it. */
    readonly reached: boolean | undefined;
    /** The measured figures as text. */
    readonly measured: string;
}

interface Goal {
    readonly goal: (fabio: boolean) => string;
    readonly judge: (records: readonly BenchRecord[], variant: string, fabio: boolean) => [boolean, string] | undefined;
}

/** The most that a balancer may add to the 99th percentile of latency at half load, milliseconds. */
const P99_ADDED_MS = 0.5;
/** The least throughput relative to no balancer, unless this share of all cores is busy. */
const THROUGHPUT = 0.9;
const CORES_BUSY = 0.9;

const goals: readonly Goal[] = [
    noneFails("a gateway is drained", ["gateway-term", "rolling-restart"], "retried"),
    {
        goal: (fabio) => `kill -9 of a gateway: outage below ${fabio ? "500" : "50"} ms`,
        judge: (records, variant, fabio) =>
            longest(records, variant, "gateway-kill", fabio ? 500 : 50, ({ outageMs }) => outageMs),
    },
    {
        goal: (fabio) =>
            fabio
                ? "SIGSTOP of a gateway: new calls go elsewhere within 1.7 s"
                : "SIGSTOP of a gateway: new calls go elsewhere within 100 ms",
        judge: (records, variant, fabio) =>
            longest(records, variant, "gateway-stop", fabio ? 1_700 : 100, ({ lastStartMs = 0 }) =>
                Math.max(0, lastStartMs),
            ),
    },
    {
        goal: (fabio) => `a gateway's host is lost: outage below ${fabio ? "10" : "1.5"} s`,
        judge: (records, variant, fabio) =>
            longest(records, variant, "host-loss", fabio ? 10_000 : 1_500, ({ outageMs }) => outageMs),
    },
    noneFails("the whole registry is lost", ["registry-stop"], "raw"),
    noneFails("100 route changes in a minute", ["route-changes"], "raw"),
    {
        goal: () => "the registry lists no gateways: balancers keep using the last ones",
        judge: (records, variant) => {
            const own = faultsOf(records, variant, ["registry-empty"]);
            const fewest = own.map(({ fewestUsed = 0 }) => fewestUsed);
            return judged(own, Math.min(...fewest) > 0 && failedCalls(own, "raw") === 0, () => {
                return `at least ${Math.min(...fewest)} gateways in use; ${countsOf(own, "raw")}`;
            });
        },
    },
    {
        goal: () => "a restarted balancer has the same slots",
        judge: (records, variant, fabio) => {
            const own = faultsOf(records, variant, ["balancer"]);
            if (fabio) return undefined;
            return judged(
                own,
                own.every(({ sameSlots }) => sameSlots),
                () => {
                    return `${own.filter(({ sameSlots }) => sameSlots).length} of ${own.length} times`;
                },
            );
        },
    },
    {
        goal: () => `p99 at half load at most ${P99_ADDED_MS} ms above no balancer`,
        judge: (records, variant) => {
            const at = latencySummaries(records).filter(({ load }) => load === 50);
            const added = mixes.flatMap((mix) => {
                const own = at.find((each) => each.variant === variant && each.mix === mix)?.p99.median;
                const none = at.find((each) => each.variant === "direct" && each.mix === mix)?.p99.median;
                return own === undefined || none === undefined ? [] : [{ mix, none, ms: own - none }];
            });
            return judged(
                added,
                added.every(({ ms }) => ms <= P99_ADDED_MS),
                () =>
                    added
                        .map(
                            ({ mix, ms, none }) =>
                                `${mixLabels[mix]}: ${ms < 0 ? "−" : "+"}${Math.abs(ms).toFixed(2)} ms to ${none.toFixed(2)} ms`,
                        )
                        .join("; "),
            );
        },
    },
    {
        goal: () => `throughput at least ${THROUGHPUT} of no balancer, or all cores busy`,
        judge: (records, variant) => {
            const all = recordsOfKind(records, "saturation");
            const of = (name: string, mix: Mix) => all.filter(({ cell }) => cell.variant === name && cell.mix === mix);
            const found = mixes.flatMap((mix) => {
                const [own, none] = [of(variant, mix), of("direct", mix)];
                if (own.length === 0 || none.length === 0) return [];
                const mean = (each: typeof own) => sum(each.map(({ perSecond }) => perSecond)) / each.length;
                const cores = recordsOfKind(records, "run")[0]?.host.cores ?? 1;
                const busy = sum(own.map((record) => coresOf(record))) / own.length / cores;
                return [{ mix, share: mean(own) / mean(none), busy }];
            });
            return judged(
                found,
                found.every(({ share, busy }) => share >= THROUGHPUT || busy >= CORES_BUSY),
                () =>
                    found
                        .map(
                            ({ mix, share, busy }) =>
                                `${mixLabels[mix]}: ${share.toFixed(2)}, ${(100 * busy).toFixed(0)} % of all cores used`,
                        )
                        .join("; "),
            );
        },
    },
];

/** The verdict on every goal for every stack. */
export function goalVerdicts(records: readonly BenchRecord[]): Verdict[] {
    return goals.flatMap(({ goal, judge }) =>
        stackVariants.map(({ name }) => {
            const fabio = name === "fabio";
            const found = judge(records, name, fabio);
            return {
                goal: goal(fabio),
                variant: name,
                reached: found?.[0],
                measured: found?.[1] ?? "not measured",
            };
        }),
    );
}

function noneFails(what: string, names: readonly string[], calls: "raw" | "retried"): Goal {
    return {
        goal: () => `${what}: no ${calls === "retried" ? "retried " : ""}call fails`,
        judge: (records, variant) => {
            const own = faultsOf(records, variant, names);
            return judged(own, failedCalls(own, calls) === 0, () => countsOf(own, calls));
        },
    };
}

/** Judges by the longest time over all trials of a fault and both mixes. */
function longest(
    records: readonly BenchRecord[],
    variant: string,
    name: string,
    limitMs: number,
    time: (outcome: FaultOutcome) => number,
): [boolean, string] | undefined {
    const own = faultsOf(records, variant, [name]);
    const times = own.flatMap(({ raw }) => mixes.map((mix) => time(raw[mix])));
    return judged(
        own,
        times.every((each) => each < limitMs),
        () => {
            const within = times.filter((each) => each < limitMs).length;
            const failed = own.flatMap(({ raw }) => mixes.map((mix) => raw[mix].failed));
            return (
                `${within} of ${times.length} times; at most ${Math.round(Math.max(...times))} ms ` +
                `and ${Math.max(...failed)} failed calls`
            );
        },
    );
}

function judged(own: readonly unknown[], reached: boolean, words: () => string): [boolean, string] | undefined {
    return own.length === 0 ? undefined : [reached, words()];
}

function faultsOf(records: readonly BenchRecord[], variant: string, names: readonly string[]): FaultRecord[] {
    return recordsOfKind(records, "fault").filter(({ cell }) => cell.variant === variant && names.includes(cell.fault));
}

const failedCalls = (own: readonly FaultRecord[], calls: "raw" | "retried") =>
    sum(own.flatMap((record) => mixes.map((mix) => record[calls][mix].failed)));

function countsOf(own: readonly FaultRecord[], calls: "raw" | "retried"): string {
    const started = sum(own.flatMap((record) => mixes.map((mix) => record[calls][mix].started)));
    return `${failedCalls(own, calls)} of ${started.toLocaleString("en")} calls failed, in ${own.length} ${own.length === 1 ? "trial" : "trials"}`;
}
