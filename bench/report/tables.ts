/** The tables as rows of text: Markdown for the documentation, HTML for the report. */

import { type BenchRecord, isDisturbed, isTrialRecord } from "../benchRecords";
import { type Summary, summarize } from "../statistics";
import { mixes, stackVariants } from "../trialMatrix";
import { agreement } from "./agreement";
import { goalVerdicts } from "./goals";
import { escapeHtml } from "./render";
import { faultLabels, labelOf, mixLabels } from "./style";
import { coresOf, faultSummaries, groupBy, latencySummaries, recordsOfKind, variantsIn } from "./summaries";

/** A table of the report. */
export interface Table {
    readonly name: string;
    readonly title: string;
    readonly heading: readonly string[];
    readonly rows: readonly (readonly string[])[];
}

/** All tables that have data. `again` is a second run of some of the same cells. */
export function tables(records: readonly BenchRecord[], again: readonly BenchRecord[] = []): Table[] {
    return [
        goalTable(records),
        faultTable(records),
        ablationTable(records),
        throughputTable(records),
        latencyTable(records),
        agreementTable(records, again),
        runTable(records, again),
    ].filter(({ rows }) => rows.length > 0);
}

const number = (value: number, digits = 0) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Median, 95th percentile and maximum, with the interval of the median. */
function spread({ median, p95, max, interval, n }: Summary, digits = 0): string {
    const of = (value: number) => number(value, digits);
    if (max === 0) return "0";
    if (n < 2) return of(median);
    return `${of(median)} [${of(interval[0])}, ${of(interval[1])}]; p95 ${of(p95)}; max ${of(max)}`;
}

function goalTable(records: readonly BenchRecord[]): Table {
    const found = goalVerdicts(records);
    const sign = { true: "**reached**", false: "**missed**", undefined: "–" } as const;
    const rows = [...groupBy(found, ({ goal }) => goal).values()].flatMap((own) =>
        own.map(({ goal, variant, reached, measured }) => [
            goal,
            labelOf(variant),
            sign[String(reached) as keyof typeof sign],
            reached === undefined ? "" : measured,
        ]),
    );
    return {
        name: "goals",
        title: "Goals",
        heading: ["goal", "stack", "", "measured"],
        rows: rows.filter((row) => row[2] !== "–"),
    };
}

function faultRows(records: readonly BenchRecord[], wanted: (variant: string) => boolean): string[][] {
    return faultSummaries(records)
        .filter(({ variant }) => wanted(variant))
        .map(({ fault, variant, mix, records: own, started, failed, outageMs, retriedFailed, retriedStarted }) => [
            faultLabels[fault] ?? fault,
            labelOf(variant),
            mixLabels[mix],
            String(own.length),
            number(started),
            spread(failed),
            spread(outageMs),
            `${number(retriedFailed.n > 0 ? own.reduce((sum, record) => sum + record.retried[mix].failed, 0) : 0)} of ${number(retriedStarted)}`,
        ]);
}

const FAULT_HEADING = [
    "fault",
    "stack",
    "connections",
    "N",
    "calls",
    "failed per trial",
    "outage, ms",
    "failed despite retries",
];
const isStack = (variant: string) => stackVariants.some(({ name }) => name === variant);

function faultTable(records: readonly BenchRecord[]): Table {
    return { name: "faults", title: "Faults", heading: FAULT_HEADING, rows: faultRows(records, isStack) };
}

function ablationTable(records: readonly BenchRecord[]): Table {
    return {
        name: "ablations",
        title: "Ablations: a stack without one of its parts",
        heading: FAULT_HEADING,
        rows: faultRows(records, (variant) => !isStack(variant)),
    };
}

function throughputTable(records: readonly BenchRecord[]): Table {
    const all = recordsOfKind(records, "saturation");
    return {
        name: "throughput",
        title: "Throughput",
        heading: ["stack", "connections", "N", "calls per second", "cores used"],
        rows: variantsIn(all).flatMap((variant) =>
            mixes.flatMap((mix) => {
                const own = all.filter(({ cell }) => cell.variant === variant && cell.mix === mix);
                if (own.length === 0) return [];
                const used = summarize(own.map(coresOf)).median;
                const rate = spread(summarize(own.map(({ perSecond }) => perSecond)));
                return [[labelOf(variant), mixLabels[mix], String(own.length), rate, number(used, 2)]];
            }),
        ),
    };
}

function latencyTable(records: readonly BenchRecord[]): Table {
    return {
        name: "latency",
        title: "Latency",
        heading: ["load", "connections", "stack", "calls/s", "N", "p50, ms", "p99, ms", "p99.9, ms"],
        rows: latencySummaries(records).map(({ load, mix, variant, rate, records: own, p50, p99, histogram }) => [
            `${load} %`,
            mixLabels[mix],
            labelOf(variant),
            number(rate),
            String(own.length),
            number(p50.median, 2),
            spread(p99, 2),
            number(histogram.getValueAtPercentile(99.9) / 1000, 2),
        ]),
    };
}

function agreementTable(records: readonly BenchRecord[], again: readonly BenchRecord[]): Table {
    return {
        name: "agreement",
        title: "Agreement of the two runs",
        heading: ["figure", "cells in both runs", "overlapping intervals"],
        rows: agreement(records, again).map(({ figure, cells, agreeing }) => [figure, String(cells), String(agreeing)]),
    };
}

function runTable(records: readonly BenchRecord[], again: readonly BenchRecord[]): Table {
    return {
        name: "runs",
        title: "Runs",
        heading: ["run", "started", "profile, seed", "trials", "computer", "ceiling of the generator, calls/s"],
        rows: [records, again].flatMap((each, index) => {
            const [run] = recordsOfKind(each, "run");
            if (!run) return [];
            const ceilings = recordsOfKind(each, "ceiling").map(
                ({ mix, perSecond, cores }) => `${mixLabels[mix]}: ${number(perSecond)} with ${cores} cores`,
            );
            return [
                [
                    `run ${index + 1}`,
                    run.at.slice(0, 16).replace("T", " "),
                    `${run.profile}, ${run.seed}`,
                    `${each.filter(isTrialRecord).length}, ${each.filter(isTrialRecord).filter(isDisturbed).length} of them disturbed`,
                    `${run.host.cores} × ${run.host.cpu}, ${run.host.memoryGib} GiB, Linux ${run.host.kernel}, Node ${run.versions.node}`,
                    ceilings.join("; "),
                ],
            ];
        }),
    };
}

/** A table in Markdown. */
export function markdownOf({ heading, rows }: Table): string {
    const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
    return [line(heading), line(heading.map(() => "---")), ...rows.map(line)].join("\n");
}

/** A table in HTML. */
export function htmlOf({ title, heading, rows }: Table): string {
    const cell = (tag: string) => (text: string) =>
        `<${tag}>${escapeHtml(text).replace(/\*\*(.+?)\*\*/g, "<strong>$1</strong>")}</${tag}>`;
    const body = rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("\n");
    return `<h2>${escapeHtml(title)}</h2>\n<table><thead><tr>${heading.map(cell("th")).join("")}</tr></thead>\n<tbody>${body}</tbody></table>`;
}
