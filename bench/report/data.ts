/** The raw data as the figures and tables need it. */
import * as hdr from "hdr-histogram-js";
import { emptyHistogram } from "../load";
import { faultNames, type Mix, mixes, variants } from "../matrix";
import { type BenchRecord, type FaultRecord, type LatencyRecord, type Parts, parts } from "../records";
import { type Summary, summarize } from "../statistics";

/** Records of one kind. */
export function ofKind<K extends BenchRecord["kind"]>(
    records: readonly BenchRecord[],
    kind: K,
): Extract<BenchRecord, { kind: K }>[] {
    return records.filter((record): record is Extract<BenchRecord, { kind: K }> => record.kind === kind);
}

/** The names that occur, in the order of a list. */
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

/** What happened to the calls of a variant when a fault was made, over all loads, or at one. */
export interface FaultSummary {
    readonly variant: string;
    readonly fault: string;
    readonly mix: Mix;
    readonly records: readonly FaultRecord[];
    readonly started: number;
    readonly failed: Summary;
    readonly outageMs: Summary;
    /** Of calls that the client repeats. */
    readonly retriedStarted: number;
    readonly retriedFailed: Summary;
}

/** Summaries of all faults in the order of reports. */
export function faultSummaries(records: readonly BenchRecord[], load?: number): FaultSummary[] {
    const all = ofKind(records, "fault").filter(({ cell }) => load === undefined || cell.load === load);
    return faultNames.flatMap((fault) =>
        variantsIn(all).flatMap((variant) => {
            const own = all.filter(({ cell }) => cell.variant === variant && cell.fault === fault);
            if (own.length === 0) return [];
            return mixes.map((mix) => ({
                variant,
                fault,
                mix,
                records: own,
                started: total(own.map((record) => record.raw[mix].started)),
                failed: summarize(own.map((record) => record.raw[mix].failed)),
                outageMs: summarize(own.map((record) => record.raw[mix].outageMs)),
                retriedStarted: total(own.map((record) => record.retried[mix].started)),
                retriedFailed: summarize(own.map((record) => record.retried[mix].failed)),
            }));
        }),
    );
}

/** Latency of a variant at a load. */
export interface LatencySummary {
    readonly variant: string;
    readonly mix: Mix;
    readonly load: number;
    readonly rate: number;
    readonly records: readonly LatencyRecord[];
    readonly p50: Summary;
    readonly p99: Summary;
    /** The calls of all repeats. */
    readonly histogram: hdr.Histogram;
}

/** Summaries of all latencies. */
export function latencySummaries(records: readonly BenchRecord[]): LatencySummary[] {
    const all = ofKind(records, "latency");
    const groups = grouped(all, ({ cell }) => `${cell.variant}/${cell.mix}/${cell.load}`);
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

/** Values by a key. */
export function grouped<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
    const groups = new Map<string, T[]>();
    for (const value of values) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
    return groups;
}

/** Cores that all parts of a deployment and the generator used; what else the computer did is not counted. */
export const coresOf = ({ parts: used }: { readonly parts: Parts }): number =>
    total(parts.map((part) => used[part].cores));

/** The sum. */
export const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
