/** Few numbers, and how sure one may be of what they say. */
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { median, quantile } from "simple-statistics";

/** What a sample says. */
export interface Summary {
    readonly n: number;
    readonly median: number;
    readonly p95: number;
    readonly max: number;
    /** Where the median of all that could have been measured lies, with 95 % confidence; of one value that value. */
    readonly interval: readonly [number, number];
}

/** Samples drawn for an interval. */
const DRAWS = 2_000;
/** Share of the draws' medians that lies outside the interval, at either end. */
const TAIL = 0.025;

/**
 * Summarizes a sample; the interval is the bootstrap's percentile interval of the median. The same sample always gives the
 * same.
 *
 * @throws Error when it is empty.
 */
export function summarize(sample: readonly number[]): Summary {
    if (sample.length === 0) throw new Error("there is nothing to summarize");
    return {
        n: sample.length,
        median: median([...sample]),
        p95: quantile([...sample], 0.95),
        max: Math.max(...sample),
        interval: bootstrap(sample, (drawn) => median(drawn)),
    };
}

/** The interval in which a statistic lies with 95 % confidence, by drawing from the sample with replacement. */
export function bootstrap(
    sample: readonly number[],
    statistic: (drawn: number[]) => number,
): readonly [number, number] {
    const random = xoroshiro128plus(sample.length);
    const draw = () => sample[uniformInt(random, 0, sample.length - 1)] as number;
    const found = Array.from({ length: DRAWS }, () => statistic(Array.from(sample, draw)));
    return [quantile(found, TAIL), quantile(found, 1 - TAIL)];
}

/** Whether two intervals have a point in common. */
export function overlap(a: readonly [number, number], b: readonly [number, number]): boolean {
    return a[0] <= b[1] && b[0] <= a[1];
}
