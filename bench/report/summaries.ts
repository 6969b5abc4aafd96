/** Summaries of the raw data for the figures and tables. */
import * as hdr from "hdr-histogram-js";
import { emptyHistogram } from "../../gateway-sample/load";
import { type BenchRecord, type FaultRecord, type LatencyRecord, type Parts, partNames } from "../benchRecords";
import { type Summary, summarize } from "../statistics";
import { faultNames, type Mix, mixes, variants } from "../trialMatrix";

/** Records of one kind. */
export function recordsOfKind<K extends BenchRecord["kind"]>(
    records: readonly BenchRecord[],
    kind: K,
): Extract<BenchRecord, { kind: K }>[] {
    return records.filter((record): record is Extract<BenchRecord, { kind: K }> => record.kind === kind);
}

/** The distinct names, in the order of a list. */
export function inOrder(names: Iterable<string>, order: readonly string[]): string[] {
    const found = new Set(names);
    return order.filter((name) => found.has(name));
}

const variantOrder = [...variants.keys()];

/** The variants that were measured. */
export function variantsIn(records: readonly { readonly cell: { readonly variant: string } }[]): string[] {
    return inOrder(
        records.map(({ cell }) => cell.variant),
        variantOrder,
    );
}

/** Calls of a variant during a fault, over all loads or at one. */
export interface FaultSummary {
    readonly variant: string;
    readonly fault: string;
    readonly mix: Mix;
    readonly records: readonly FaultRecord[];
    readonly started: number;
    readonly failed: Summary;
    readonly outageMs: Summary;
    /** For calls that the client retries. */
    readonly retriedStarted: number;
    readonly retriedFailed: Summary;
}

/** Summaries of all faults, in the order of the reports. */
export function faultSummaries(records: readonly BenchRecord[], load?: number): FaultSummary[] {
    const all = recordsOfKind(records, "fault").filter(({ cell }) => load === undefined || cell.load === load);
    return faultNames.flatMap((fault) =>
        variantsIn(all).flatMap((variant) => {
            const own = all.filter(({ cell }) => cell.variant === variant && cell.fault === fault);
            if (own.length === 0) return [];
            return mixes.map((mix) => ({
                variant,
                fault,
                mix,
                records: own,
                started: sum(own.map((record) => record.raw[mix].started)),
                failed: summarize(own.map((record) => record.raw[mix].failed)),
                outageMs: summarize(own.map((record) => record.raw[mix].outageMs)),
                retriedStarted: sum(own.map((record) => record.retried[mix].started)),
                retriedFailed: summarize(own.map((record) => record.retried[mix].failed)),
            }));
        }),
    );
}

/** Latency of a variant at one load. */
export interface LatencySummary {
    readonly variant: string;
    readonly mix: Mix;
    readonly load: number;
    readonly rate: number;
    readonly records: readonly LatencyRecord[];
    readonly p50: Summary;
    readonly p99: Summary;
    /** Calls of all repeats. */
    readonly histogram: hdr.Histogram;
}

/** Summaries of all latencies, ordered by load, mix and variant. */
export function latencySummaries(records: readonly BenchRecord[]): LatencySummary[] {
    const all = recordsOfKind(records, "latency");
    const groups = groupBy(all, ({ cell }) => `${cell.variant}/${cell.mix}/${cell.load}`);
    return [...groups.values()]
        .map((own) => {
            const [{ cell, rate }] = own as [LatencyRecord];
            const histogram = emptyHistogram();
            for (const record of own) histogram.add(hdr.decodeFromCompressedBase64(record.histogram));
            const at = (percentile: "p50" | "p99") =>
                summarize(own.map((record) => record.outcome.latency?.[percentile] ?? 0));
            return {
                variant: cell.variant,
                mix: cell.mix,
                load: cell.load,
                rate,
                records: own,
                p50: at("p50"),
                p99: at("p99"),
                histogram,
            };
        })
        .sort(
            (a, b) =>
                a.load - b.load ||
                mixes.indexOf(a.mix) - mixes.indexOf(b.mix) ||
                variantOrder.indexOf(a.variant) - variantOrder.indexOf(b.variant),
        );
}

/** Groups values by a key. */
export function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
    const groups = new Map<string, T[]>();
    for (const value of values) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
    return groups;
}

/** Cores that the parts of a deployment and the generator used. Excludes other processes of the computer. */
export const coresOf = ({ parts: used }: { readonly parts: Parts }): number =>
    sum(partNames.map((part) => used[part].cores));

/** The sum of values. */
export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
