/** Agreement of two runs of the same cells. */
import type { BenchRecord } from "../benchRecords";
import { overlap, type Summary, summarize } from "../statistics";
import { faultSummaries, groupBy, latencySummaries, recordsOfKind } from "./summaries";

/**
 * Number of cells in which two runs agree on a figure, which means that the 95 % intervals of their medians overlap.
 */
export interface Agreement {
    readonly figure: string;
    readonly cells: number;
    readonly agreeing: number;
}

/** Margins added to both ends of the intervals, because the interval of a single measurement has no width. */
export const tolerances = {
    /** Relative to the median. */
    throughput: 0.1,
    /** Milliseconds, at the 99th percentile. */
    latency: 0.5,
    /** Calls: about as many as are in flight at a time. */
    failed: 5,
    /** Milliseconds. */
    outage: 50,
} as const;

/** Compares two runs. Leaves out figures that only one of them has. */
export function agreement(first: readonly BenchRecord[], second: readonly BenchRecord[]): Agreement[] {
    const saturation = (records: readonly BenchRecord[]) =>
        summaries(
            recordsOfKind(records, "saturation"),
            ({ cell }) => `${cell.variant}/${cell.mix}`,
            ({ perSecond }) => perSecond,
        );
    const latency = (records: readonly BenchRecord[]) =>
        new Map(latencySummaries(records).map((each) => [`${each.variant}/${each.mix}/${each.load}`, each.p99]));
    const fault = (figure: "failed" | "outageMs") => (records: readonly BenchRecord[]) =>
        new Map(faultSummaries(records, 50).map((each) => [`${each.variant}/${each.fault}/${each.mix}`, each[figure]]));
    const width = (share: number, floor: number) => (summary: Summary) => Math.max(share * summary.median, floor);
    return [
        compare("throughput, calls per second", saturation, width(tolerances.throughput, 0)),
        compare("p99 latency, ms", latency, width(0, tolerances.latency)),
        compare("failed calls at 50 % load", fault("failed"), width(0, tolerances.failed)),
        compare("outage at 50 % load, ms", fault("outageMs"), width(0, tolerances.outage)),
    ].filter(({ cells }) => cells > 0);

    function compare(
        figure: string,
        of: (records: readonly BenchRecord[]) => ReadonlyMap<string, Summary>,
        widen: (summary: Summary) => number,
    ): Agreement {
        const [a, b] = [of(first), of(second)];
        const common = [...a.keys()].filter((key) => b.has(key));
        const wide = (summary: Summary): [number, number] => [
            summary.interval[0] - widen(summary),
            summary.interval[1] + widen(summary),
        ];
        const agreeing = common.filter((key) => overlap(wide(a.get(key) as Summary), wide(b.get(key) as Summary)));
        return { figure, cells: common.length, agreeing: agreeing.length };
    }
}

function summaries<T>(
    values: readonly T[],
    keyOf: (value: T) => string,
    figure: (value: T) => number,
): Map<string, Summary> {
    return new Map([...groupBy(values, keyOf)].map(([key, own]) => [key, summarize(own.map(figure))]));
}
