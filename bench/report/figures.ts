/** The figures as Vega-Lite specifications, for the SVG files of the documentation and for the interactive report. */
import type { TopLevelSpec } from "vega-lite";
import type { BenchRecord, Part } from "../benchRecords";
import { summarize } from "../statistics";
import { faultNames, mixes, poolSizes, variants } from "../trialMatrix";
import { faultLabels, labelOf, mixLabels, partLabels, variantColors } from "./style";
import { coresOf, groupBy, inOrder, latencySummaries, recordsOfKind, sum, variantsIn } from "./summaries";

/** A figure of the report. */
export interface Figure {
    /** The name of its file, without `.svg`. */
    readonly name: string;
    readonly title: string;
    /** What the figure shows, and how it was measured. */
    readonly caption: string;
    readonly spec: TopLevelSpec;
}

const FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif";
const config = {
    background: "white",
    font: FONT,
    axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", gridColor: "#e5e5e5", labelLimit: 0 },
    header: { labelFontSize: 13, labelFontWeight: "bold", titleFontSize: 12 },
    legend: { labelFontSize: 12, titleFontSize: 12, orient: "top", title: null, labelLimit: 0, columnPadding: 18 },
    view: { stroke: "#cccccc" },
} as const;

/** Labels of logarithmic axes: plain numbers instead of Vega's abbreviations. */
const THOUSANDS = "format(datum.value, ',')";
const THOUSANDS_OR_LESS = "datum.value < 1 ? format(datum.value, '~r') : format(datum.value, ',')";
/** Ticks in milliseconds, up to ten seconds. */
const DECADES = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

const top = (spec: object, padding = 10): TopLevelSpec =>
    ({ $schema: "https://vega.github.io/schema/vega-lite/v6.json", padding, config, ...spec }) as TopLevelSpec;

const mixOrder = mixes.map((mix) => mixLabels[mix]);
const mixFacet = { field: "mix", type: "nominal", title: null, sort: mixOrder } as const;
const stackNames = ["direct", "consul-template-haproxy", "fabio", "serf-haproxy"];

function color(names: readonly string[], legend: object | null = {}) {
    return { field: "variant", type: "nominal", scale: variantColors(names), legend } as const;
}

/** All figures that have data. */
export function figures(records: readonly BenchRecord[]): Figure[] {
    return [
        latencyFigure(records),
        throughputFigure(records),
        ...faultFigures(records),
        ablationFigure(records),
        resourceFigure(records),
        poolFigure(records),
        churnFigure(records),
    ].filter((figure) => figure !== undefined);
}

/** Percentiles of the latency curve: denser towards the tail. */
export const percentileSteps: readonly number[] = Array.from(
    { length: 61 },
    (_, step) => 100 - 100 / 10 ** (step / 20),
);

function latencyFigure(records: readonly BenchRecord[]): Figure | undefined {
    const all = latencySummaries(records);
    const load = all.some((each) => each.load === 50) ? 50 : all[0]?.load;
    if (load === undefined) return undefined;
    const shown = all.filter((each) => each.load === load);
    const values = shown.flatMap(({ variant, mix, histogram, rate }) =>
        percentileSteps
            // Skip percentiles above the rarest call.
            .filter((percentile) => histogram.totalCount * (1 - percentile / 100) >= 1)
            .map((percentile) => ({
                variant: labelOf(variant),
                mix: mixLabels[mix],
                rate,
                percentile: Number(percentile.toFixed(3)),
                rarity: 100 / (100 - percentile),
                ms: histogram.getValueAtPercentile(percentile) / 1000,
            })),
    );
    return {
        name: "latency",
        title: `Latency by percentile at ${load} % of the slowest stack's saturation`,
        caption:
            "Open loop, counted from the intended start of each call, over all repeats. Both axes are logarithmic, with the tail on the right.",
        spec: top({
            data: { values },
            facet: { column: mixFacet },
            spec: {
                width: 380,
                height: 300,
                params: [{ name: "pick", select: { type: "point", fields: ["variant"] }, bind: "legend" }],
                mark: { type: "line", strokeWidth: 2, tooltip: true },
                encoding: {
                    x: {
                        field: "rarity",
                        type: "quantitative",
                        scale: { type: "log", nice: false },
                        title: "percentile of calls",
                        axis: {
                            values: [1, 2, 10, 100, 1000],
                            labelExpr: "datum.value == 1 ? '0' : format(100 - 100 / datum.value, '.4~r') + ' %'",
                        },
                    },
                    y: {
                        field: "ms",
                        type: "quantitative",
                        scale: { type: "log" },
                        title: "latency, ms",
                        axis: { values: DECADES, labelExpr: THOUSANDS_OR_LESS },
                    },
                    color: color(stackNames),
                    opacity: { condition: { param: "pick", value: 1 }, value: 0.1 },
                    tooltip: [
                        { field: "variant", title: "stack" },
                        { field: "percentile", title: "percentile" },
                        { field: "ms", title: "ms" },
                        { field: "rate", title: "calls/s" },
                    ],
                },
            },
        }),
    };
}

function throughputFigure(records: readonly BenchRecord[]): Figure | undefined {
    const all = recordsOfKind(records, "saturation");
    if (all.length === 0) return undefined;
    const ceilings = recordsOfKind(records, "ceiling").map(({ mix, perSecond }) => ({
        mix: mixLabels[mix],
        perSecond,
        variant: "ceiling of the generator",
    }));
    const values = all.map((record) => ({
        variant: labelOf(record.cell.variant),
        mix: mixLabels[record.cell.mix],
        perSecond: record.perSecond,
        cores: Number(coresOf(record).toFixed(2)),
    }));
    const names = stackNames.filter((name) => all.some(({ cell }) => cell.variant === name));
    const panel = (mix: string, index: number) => ({
        title: { text: mix, fontSize: 13 },
        width: 380,
        height: 42 * names.length,
        layer: [
            {
                data: { values: values.filter((value) => value.mix === mix) },
                mark: { type: "bar", height: 22, opacity: 0.35 },
                encoding: {
                    x: { aggregate: "median", field: "perSecond", type: "quantitative", title: "calls per second" },
                    y: {
                        field: "variant",
                        type: "nominal",
                        title: null,
                        sort: names.map(labelOf),
                        axis: index === 0 ? {} : { labels: false },
                    },
                    color: color(names, null),
                },
            },
            {
                data: { values: values.filter((value) => value.mix === mix) },
                mark: { type: "point", filled: true, size: 60, opacity: 0.9, tooltip: true },
                encoding: {
                    x: { field: "perSecond", type: "quantitative" },
                    y: { field: "variant", type: "nominal", sort: names.map(labelOf) },
                    color: color(names, null),
                    tooltip: [
                        { field: "variant", title: "stack" },
                        { field: "perSecond", title: "calls/s" },
                        { field: "cores", title: "cores used" },
                    ],
                },
            },
            {
                data: { values: ceilings.filter((value) => value.mix === mix) },
                mark: { type: "rule", strokeDash: [5, 4], color: "black" },
                encoding: { x: { field: "perSecond", type: "quantitative" } },
            },
            {
                data: { values: ceilings.filter((value) => value.mix === mix) },
                mark: {
                    type: "text",
                    align: "right",
                    baseline: "bottom",
                    dx: -5,
                    y: 42 * names.length - 1,
                    fontSize: 10,
                },
                encoding: { x: { field: "perSecond", type: "quantitative" }, text: { field: "variant" } },
            },
        ],
    });
    return {
        name: "throughput",
        title: "Throughput",
        caption:
            "Closed loop with 32 concurrent calls. Bars are medians, points are single measurements. Client, balancer and gateways share the computer's cores. The dashed line shows the generator against a server that does nothing.",
        spec: top({ hconcat: mixOrder.map(panel), spacing: 40 }),
    };
}

function faultFigures(records: readonly BenchRecord[]): Figure[] {
    const all = recordsOfKind(records, "fault").filter(
        ({ cell }) => stackNames.includes(cell.variant) && cell.variant !== "direct",
    );
    if (all.length === 0) return [];
    const values = all.flatMap(({ cell, raw, repeat }) =>
        mixes.map((mix) => ({
            variant: labelOf(cell.variant),
            fault: faultLabels[cell.fault],
            load: cell.load,
            repeat,
            mix: mixLabels[mix],
            failed: raw[mix].failed,
            percent: Number(((100 * raw[mix].failed) / raw[mix].started).toFixed(3)),
            outage: raw[mix].outageMs,
        })),
    );
    const found = inOrder(
        all.map(({ cell }) => cell.fault),
        faultNames,
    ).map((name) => faultLabels[name]);
    const names = stackNames.filter((name) => all.some(({ cell }) => cell.variant === name));
    const figure = (field: string, title: string, ticks: readonly number[], most: number) =>
        top({
            data: { values },
            facet: { column: mixFacet },
            spec: {
                width: 360,
                height: { step: 13 },
                encoding: {
                    y: {
                        field: "fault",
                        type: "nominal",
                        title: null,
                        sort: found,
                        axis: { grid: false, tickBand: "extent" },
                    },
                    yOffset: { field: "variant", type: "nominal", sort: names.map(labelOf) },
                    color: color(names),
                    opacity: { condition: { param: "pick", value: 0.75 }, value: 0.05 },
                },
                layer: [
                    {
                        mark: { type: "rule", strokeWidth: 2, opacity: 0.4 },
                        encoding: {
                            x: { aggregate: "min", field, type: "quantitative" },
                            x2: { aggregate: "max", field },
                        },
                    },
                    {
                        params: [{ name: "pick", select: { type: "point", fields: ["variant"] }, bind: "legend" }],
                        mark: { type: "point", filled: true, size: 42, tooltip: true },
                        encoding: {
                            x: {
                                field,
                                type: "quantitative",
                                title,
                                scale: { type: "symlog", constant: 1, domain: [0, most] },
                                axis: { values: ticks, labelExpr: THOUSANDS },
                            },
                            tooltip: [
                                { field: "variant", title: "stack" },
                                { field: "fault" },
                                { field: "load", title: "load, %" },
                                { field: "failed", title: "failed calls" },
                                { field: "percent", title: "failed, %" },
                                { field: "outage", title: "outage, ms" },
                            ],
                        },
                    },
                ],
            },
        });
    const highest = (key: "failed" | "outage", floor: number) =>
        Math.max(floor, ...values.map((value) => value[key])) * 1.3;
    const ticks = [0, 1, 10, 100, 1_000, 10_000];
    return [
        {
            name: "failed-calls",
            title: "Failed calls by fault",
            caption:
                "Calls that are tried once, through one balancer. Each point is one fault at 30, 50 or 70 % load; lines span the minimum and the maximum. The axis is logarithmic above 1.",
            spec: figure("failed", "failed calls", ticks, highest("failed", 10)),
        },
        {
            name: "outage",
            title: "Outage by fault: from the first failed call to the last",
            caption:
                "The same faults. With at most one failed call, the outage is 0 ms. The axis is logarithmic above 1 ms.",
            spec: figure("outage", "outage, ms", ticks, highest("outage", 10)),
        },
    ];
}

function ablationFigure(records: readonly BenchRecord[]): Figure | undefined {
    const ablated = recordsOfKind(records, "fault").filter(({ cell }) => !isStack(cell.variant));
    if (ablated.length === 0) return undefined;
    const faults = inOrder(
        ablated.map(({ cell }) => cell.fault),
        faultNames,
    );
    const loads = new Set(ablated.map(({ cell }) => cell.load));
    const order = [
        ...["direct", "consul-template-haproxy", "haproxy-checks-off", "haproxy-discovery-frozen"],
        ...["fabio", "fabio-discovery-frozen"],
    ];
    const shown = recordsOfKind(records, "fault").filter(
        ({ cell }) =>
            order.includes(cell.variant) &&
            faults.includes(cell.fault as (typeof faults)[number]) &&
            loads.has(cell.load),
    );
    const values = shown.flatMap(({ cell, raw }) =>
        mixes.map((mix) => ({
            variant: labelOf(cell.variant),
            fault: faultLabels[cell.fault],
            mix: mixLabels[mix],
            failed: raw[mix].failed,
            outage: raw[mix].outageMs,
        })),
    );
    const labels = order.map(labelOf);
    return {
        name: "ablations",
        title: "What each part contributes",
        caption:
            "Failed calls with each stack as deployed, without HAProxy's checks, without updates from the registry, and without a balancer, where clients call both gateways in turn. The axis is logarithmic above 1.",
        spec: top({
            data: { values },
            facet: {
                column: mixFacet,
                row: {
                    field: "fault",
                    type: "nominal",
                    title: null,
                    sort: faults.map((fault) => faultLabels[fault]),
                    header: { labelOrient: "top", labelAnchor: "start", labelFontSize: 12 },
                },
            },
            spec: {
                width: 330,
                height: { step: 18 },
                mark: { type: "point", filled: true, size: 50, opacity: 0.8, tooltip: true },
                encoding: {
                    x: {
                        field: "failed",
                        type: "quantitative",
                        title: "failed calls",
                        scale: { type: "symlog", constant: 1 },
                        axis: { values: [0, 1, 10, 100, 1_000, 10_000], labelExpr: THOUSANDS },
                    },
                    y: { field: "variant", type: "nominal", title: null, sort: labels },
                    color: color(order, null),
                    tooltip: [
                        { field: "variant", title: "stack" },
                        { field: "failed", title: "failed calls" },
                        { field: "outage", title: "outage, ms" },
                    ],
                },
            },
        }),
    };
}

const isStack = (variant: string) => variants.has(variant) && variants.get(variant)?.without === undefined;

function resourceFigure(records: readonly BenchRecord[]): Figure | undefined {
    const all = recordsOfKind(records, "latency").filter(({ cell }) => cell.load === 50);
    if (all.length === 0) return undefined;
    const names = variantsIn(all);
    const shown = (["proxy", "helpers", "registry", "sidecars"] as const).filter((part) => part in partLabels);
    const values = [...groupBy(all, ({ cell }) => `${cell.variant}/${cell.mix}`).values()].flatMap((own) => {
        const [{ cell }] = own as [(typeof all)[number]];
        return shown
            .filter(() => cell.variant !== "direct")
            .map((part: Exclude<Part, "generator" | "gateways">) => ({
                variant: labelOf(cell.variant),
                mix: mixLabels[cell.mix],
                part: partLabels[part].label,
                order: shown.indexOf(part),
                cores: summarize(own.map(({ parts }) => parts[part].cores)).median,
                mib: summarize(own.map(({ parts }) => parts[part].mib)).median,
            }));
    });
    const bars = (field: string, title: string, mix: string, heading: string, labelled = false) => ({
        title: { text: heading, fontSize: 13 },
        width: 260,
        height: 130,
        data: { values: values.filter((value) => value.mix === mix) },
        mark: { type: "bar", tooltip: true },
        encoding: {
            x: { field, type: "quantitative", title, stack: "zero" },
            y: {
                field: "variant",
                type: "nominal",
                title: null,
                sort: names.filter((name) => name !== "direct").map(labelOf),
                axis: labelled ? {} : { labels: false },
            },
            order: { field: "order" },
            color: {
                field: "part",
                type: "nominal",
                scale: {
                    domain: shown.map((part) => partLabels[part].label),
                    range: shown.map((part) => partLabels[part].color),
                },
                legend: { columns: 2 },
            },
            tooltip: [
                { field: "variant", title: "stack" },
                { field: "part" },
                { field: "cores", title: "cores" },
                { field: "mib", title: "MiB" },
            ],
        },
    });
    const [kept, perCall] = mixOrder as [string, string];
    return {
        name: "resources",
        title: "CPU and memory at 50 % load",
        caption:
            "Medians, for two gateways, three Consul servers (if the stack has them) and the balancer that is called. The second balancer and the gateway processes are not included. Memory is resident memory.",
        spec: top({
            hconcat: [
                bars("cores", "cores", kept, `CPU, ${kept}`, true),
                bars("cores", "cores", perCall, `CPU, ${perCall}`),
                bars("mib", "MiB", kept, "memory"),
            ],
            spacing: 25,
        }),
    };
}

function poolFigure(records: readonly BenchRecord[]): Figure | undefined {
    const all = recordsOfKind(records, "pool");
    if (all.length === 0) return undefined;
    const names = variantsIn(all);
    const values = all.map(({ cell, idle, bootMs, loaded }) => ({
        variant: labelOf(cell.variant),
        size: cell.size,
        seconds: bootMs / 1000,
        memory: idle.proxy.mib + idle.helpers.mib + idle.registry.mib,
        perGateway: idle.sidecars.mib / cell.size,
        cpu: 100 * sum((["proxy", "helpers", "registry", "sidecars"] as const).map((part) => idle[part].cores)),
        p99: loaded.outcome.latency?.p99,
    }));
    const panel = (field: string, title: string, zero = true) => ({
        width: 240,
        height: 200,
        mark: { type: "line", point: { size: 50 }, tooltip: true },
        encoding: {
            x: { field: "size", type: "ordinal", sort: [...poolSizes], title: "gateways", axis: { labelAngle: 0 } },
            y: { field, aggregate: "median", type: "quantitative", title, scale: { zero } },
            color: color(names),
        },
    });
    return {
        name: "pool",
        title: "Resources by pool size",
        caption:
            "At rest. Memory: the balancer that is called, the Consul servers, and on each gateway's machine all processes but the gateway. CPU: the total of these, in percent of one core.",
        spec: top({
            data: { values },
            hconcat: [
                panel("memory", "balancer and registry, MiB"),
                panel("perGateway", "agents on each gateway, MiB"),
                panel("cpu", "CPU at rest, % of a core"),
            ],
            spacing: 30,
        }),
    };
}

function churnFigure(records: readonly BenchRecord[]): Figure | undefined {
    const churn = recordsOfKind(records, "fault").filter(({ cell }) => cell.fault === "route-changes");
    if (churn.length === 0) return undefined;
    const quiet = recordsOfKind(records, "fault").filter(
        ({ cell }) => cell.fault === "agent-restart" && churn.some((each) => each.cell.load === cell.load),
    );
    const names = variantsIn(churn);
    const values = [...churn, ...quiet].flatMap(({ cell, raw }) =>
        mixes.flatMap((mix) =>
            (["p50", "p99", "p999"] as const).map((percentile) => ({
                variant: labelOf(cell.variant),
                mix: mixLabels[mix],
                when: cell.fault === "route-changes" ? "100 route changes a minute" : "no route changes",
                percentile: { p50: "50 %", p99: "99 %", p999: "99.9 %" }[percentile],
                ms: raw[mix].latency?.[percentile],
                failed: raw[mix].failed,
            })),
        ),
    );
    return {
        name: "churn",
        title: "Latency while routes change",
        caption:
            "One of two gateways leaves the registry and returns, 100 changes in a minute, at 50 % load. For comparison: the same load without route changes, from the trials that restart the registry's agents.",
        spec: top({
            data: { values },
            facet: { column: mixFacet },
            spec: {
                width: 360,
                height: { step: 14 },
                mark: { type: "point", filled: true, size: 60, tooltip: true },
                encoding: {
                    x: {
                        field: "ms",
                        type: "quantitative",
                        scale: { type: "log" },
                        title: "latency, ms",
                        axis: { values: DECADES, labelExpr: THOUSANDS_OR_LESS },
                    },
                    y: {
                        field: "percentile",
                        type: "nominal",
                        title: "share of calls",
                        sort: ["50 %", "99 %", "99.9 %"],
                        axis: { grid: true, tickBand: "extent" },
                    },
                    yOffset: { field: "variant", type: "nominal", sort: names.map(labelOf) },
                    color: color(names),
                    shape: {
                        field: "when",
                        type: "nominal",
                        scale: {
                            domain: ["100 route changes a minute", "no route changes"],
                            range: ["triangle-right", "circle"],
                        },
                        legend: {},
                    },
                    opacity: { condition: { test: "datum.when === 'no route changes'", value: 0.35 }, value: 0.95 },
                    tooltip: [
                        { field: "variant", title: "stack" },
                        { field: "when" },
                        { field: "percentile" },
                        { field: "ms" },
                        { field: "failed", title: "failed calls" },
                    ],
                },
            },
        }),
    };
}
