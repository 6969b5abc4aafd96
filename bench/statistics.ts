/** Statistics of small samples, with confidence intervals. */
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { median, quantile } from "simple-statistics";

/** Summary of a sample. */
export interface Summary {
    readonly n: number;
    readonly median: number;
    readonly p95: number;
    readonly max: number;
    /** The 95 % confidence interval of the median. With a single value, both ends are that value. */
    readonly interval: readonly [number, number];
}

/** Number of bootstrap samples. */
const DRAWS = 2_000;
/** Share of the bootstrap medians outside the interval, at either end. */
const TAIL = 0.025;

/**
 * Summarizes a sample. The interval is the percentile bootstrap of the median. Equal samples give equal summaries.
 *
 * @throws Error when the sample is empty.
 */
export function summarize(sample: readonly number[]): Summary {
    if (sample.length === 0) throw new Error("nothing to summarize");
    return {
        n: sample.length,
        median: median([...sample]),
        p95: quantile([...sample], 0.95),
        max: Math.max(...sample),
        interval: bootstrap(sample, (drawn) => median(drawn)),
    };
}

/**
 * The 95 % confidence interval of a statistic, by the percentile bootstrap.
 *
 * @param statistic gets the same array for every draw, so it must not keep it.
 */
export function bootstrap(
    sample: readonly number[],
    statistic: (drawn: number[]) => number,
): readonly [number, number] {
    const random = xoroshiro128plus(sample.length);
    const drawn = new Array<number>(sample.length);
    const found = Array.from({ length: DRAWS }, () => {
        for (let at = 0; at < drawn.length; at++) drawn[at] = sample[uniformInt(random, 0, drawn.length - 1)] as number;
        return statistic(drawn);
    });
    return [quantile(found, TAIL), quantile(found, 1 - TAIL)];
}

/** Whether two intervals have a point in common. */
export function overlap(a: readonly [number, number], b: readonly [number, number]): boolean {
    return a[0] <= b[1] && b[0] <= a[1];
}
