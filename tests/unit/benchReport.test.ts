import * as assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeIntoCompressedBase64 } from "hdr-histogram-js";
import {
    appendRecord,
    type BenchRecord,
    type FaultOutcome,
    type FaultRecord,
    type Parts,
    partNames,
} from "../../bench/benchRecords";
import { withTables, writeReport } from "../../bench/report";
import { agreement } from "../../bench/report/agreement";
import { figures } from "../../bench/report/figures";
import { goalVerdicts } from "../../bench/report/goals";
import { escapeHtml, svgOf } from "../../bench/report/render";
import { looks } from "../../bench/report/style";
import { faultSummaries, latencySummaries } from "../../bench/report/summaries";
import { markdownOf, tables } from "../../bench/report/tables";
import { bootstrap, overlap, summarize } from "../../bench/statistics";
import { type Mix, mixes } from "../../bench/trialMatrix";
import { emptyHistogram, percentiles } from "../../gateway-sample/load";

const at = "2026-01-01T00:00:00.000Z";
const noParts = Object.fromEntries(partNames.map((part) => [part, { cores: 0.1, mib: 10 }])) as Parts;

const run: BenchRecord = {
    kind: "run",
    profile: "quick",
    seed: 1,
    at,
    host: { cpu: "some CPU", cores: 2, memoryGib: 8, kernel: "6.1" },
    versions: { node: "20.0.0" },
};

/** A saturation in which each of the six parts used `cores` cores. */
function saturation(variant: string, mix: Mix, perSecond: number, cores = 0.1): BenchRecord {
    const cell = { kind: "saturation", variant, mix } as const;
    const used = Object.fromEntries(partNames.map((part) => [part, { cores, mib: 10 }])) as Parts;
    return { kind: "saturation", cell, repeat: 0, at, perSecond, failed: 0, parts: used, busy: 1 };
}

/** A latency record with calls of these durations, microseconds. */
function latency(variant: string, mix: Mix, microseconds: readonly number[], repeat = 0): BenchRecord {
    const histogram = emptyHistogram();
    for (const value of microseconds) histogram.recordValue(value);
    const found = percentiles(histogram);
    return {
        kind: "latency",
        cell: { kind: "latency", variant, mix, load: 50 },
        ...{ repeat, at, rate: 100, parts: noParts, busy: 0.5 },
        outcome: { started: microseconds.length, failed: 0, ...(found ? { latency: found } : {}) },
        histogram: encodeIntoCompressedBase64(histogram),
    };
}

function fault(
    variant: string,
    name: string,
    own: Partial<FaultOutcome>,
    more: Partial<FaultRecord> = {},
): FaultRecord {
    const outcome = { rate: 100, started: 1000, failed: 0, failedBefore: 0, outageMs: 0, ...own };
    const good = { ...outcome, failed: 0, outageMs: 0 };
    return {
        kind: "fault",
        cell: { kind: "fault", variant, fault: name, load: 50 },
        ...{ repeat: 0, at, target: "gw-0", courseMs: 1, wholeMs: 0, problems: [] },
        raw: { kept: outcome, perCall: good },
        retried: { kept: good, perCall: good },
        ...more,
    };
}

describe("bench: statistics", () => {
    it("summarizes by median, 95th percentile, maximum and an interval of the median", () => {
        const sample = Array.from({ length: 101 }, (_, value) => value);
        const found = summarize(sample);
        assert.equal(found.n, 101);
        assert.equal(found.median, 50);
        assert.equal(found.p95, 95);
        assert.equal(found.max, 100);
        const [low, high] = found.interval;
        // The median's standard error is about 29 / sqrt(101) * 1.25 = 3.6 here, so the interval is about 14 wide.
        assert.ok(low > 35 && low < 50 && high > 50 && high < 65, `${low} ${high}`);
        assert.deepEqual(summarize(sample), found);
        assert.deepEqual(summarize([7]).interval, [7, 7]);
        assert.throws(() => summarize([]), /nothing/);
    });

    it("draws with replacement, so it may draw one of two values twice", () => {
        assert.deepEqual(
            bootstrap([0, 10], (drawn) => drawn.reduce((a, b) => a + b) / drawn.length),
            [0, 10],
        );
    });

    it("detects overlapping intervals", () => {
        assert.equal(overlap([0, 1], [1, 2]), true);
        assert.equal(overlap([0, 1], [1.1, 2]), false);
        assert.equal(overlap([5, 6], [0, 10]), true);
    });
});

describe("bench: report", function () {
    this.timeout(60_000);
    it("merges the calls of repeats instead of averaging percentiles", () => {
        const many = Array.from({ length: 900 }, () => 1_000);
        const few = Array.from({ length: 100 }, () => 50_000);
        const [summary] = latencySummaries([latency("fabio", "kept", many), latency("fabio", "kept", few, 1)]);
        assert.equal(summary?.histogram.totalCount, 1000);
        assert.ok(Math.abs((summary?.histogram.getValueAtPercentile(99) ?? 0) - 50_000) < 1_000);
        assert.ok(Math.abs((summary?.histogram.getValueAtPercentile(50) ?? 0) - 1_000) < 20);
    });

    it("summarizes a fault by stack and mix, over all its repeats", () => {
        const records = [1, 3, 8].map((failed, repeat) =>
            fault("fabio", "gateway-kill", { failed, outageMs: 100 * failed }, { repeat }),
        );
        const [kept, perCall] = faultSummaries(records);
        assert.equal(kept?.mix, "kept");
        assert.equal(kept?.failed.median, 3);
        assert.equal(kept?.failed.max, 8);
        assert.equal(kept?.outageMs.max, 800);
        assert.equal(kept?.started, 3000);
        assert.equal(perCall?.failed.max, 0);
        assert.deepEqual(faultSummaries(records, 70), []);
    });

    const verdict = (records: readonly BenchRecord[], variant: string, goal: RegExp) => {
        const found = goalVerdicts(records).filter((each) => each.variant === variant && goal.test(each.goal));
        assert.equal(found.length, 1);
        return found[0];
    };

    it("judges outages by the worst trial", () => {
        const good = fault("serf-haproxy", "gateway-kill", { failed: 2, outageMs: 49 });
        const bad = fault("serf-haproxy", "gateway-kill", { failed: 2, outageMs: 51 }, { repeat: 1 });
        assert.equal(verdict([good], "serf-haproxy", /kill -9/)?.reached, true);
        assert.equal(verdict([good, bad], "serf-haproxy", /kill -9/)?.reached, false);
        assert.match(verdict([good, bad], "serf-haproxy", /kill -9/)?.measured ?? "", /3 of 4 times; at most 51 ms/);
        assert.equal(verdict([good], "fabio", /kill -9/)?.reached, undefined);
    });

    it("judges a frozen gateway by the start of the last failed call, not by its failure", () => {
        const late = fault("fabio", "gateway-stop", { failed: 9, outageMs: 2_500, lastStartMs: 1_650 });
        assert.equal(verdict([late], "fabio", /SIGSTOP/)?.reached, true);
        const haproxy = fault("serf-haproxy", "gateway-stop", { failed: 9, outageMs: 20, lastStartMs: 101 });
        assert.equal(verdict([haproxy], "serf-haproxy", /SIGSTOP/)?.reached, false);
    });

    it("judges drains by retried calls, and a lost registry by calls that are tried once", () => {
        const failing = { failed: 1 };
        assert.equal(verdict([fault("fabio", "gateway-term", failing)], "fabio", /drained/)?.reached, true);
        assert.equal(verdict([fault("fabio", "registry-stop", failing)], "fabio", /registry is lost/)?.reached, false);
        const once = fault("fabio", "rolling-restart", {});
        const retried = { kept: { ...once.retried.kept, failed: 1 }, perCall: once.retried.perCall };
        assert.equal(verdict([{ ...once, retried }], "fabio", /drained/)?.reached, false);
    });

    it("judges an empty registry by the gateways that stay in use", () => {
        const kept = fault("serf-haproxy", "registry-empty", {}, { fewestUsed: 2 });
        assert.equal(verdict([kept], "serf-haproxy", /no gateways/)?.reached, true);
        assert.equal(verdict([{ ...kept, fewestUsed: 0 }], "serf-haproxy", /no gateways/)?.reached, false);
    });

    it("judges throughput relative to no balancer or by busy cores, and latency by the difference", () => {
        const none = mixes.map((mix) => saturation("direct", mix, 1000));
        const own = (perSecond: number, cores: number) =>
            mixes.map((mix) => saturation("fabio", mix, perSecond, cores));
        const reached = (records: readonly BenchRecord[]) =>
            verdict([run, ...none, ...records], "fabio", /throughput/)?.reached;
        assert.equal(reached(own(900, 0.1)), true);
        assert.equal(reached(own(899, 0.1)), false);
        assert.equal(reached(own(400, 0.31)), true);
        const direct = latency("direct", "kept", [2_000]);
        assert.equal(verdict([direct, latency("fabio", "kept", [2_400])], "fabio", /p99/)?.reached, true);
        assert.equal(verdict([direct, latency("fabio", "kept", [2_700])], "fabio", /p99/)?.reached, false);
    });

    it("compares two runs by their intervals", () => {
        const first = [saturation("fabio", "kept", 1000), fault("fabio", "gateway-kill", { failed: 2, outageMs: 10 })];
        assert.deepEqual(
            agreement(first, first).map(({ cells, agreeing }) => cells - agreeing),
            [0, 0, 0],
        );
        const second = [
            saturation("fabio", "kept", 2000),
            fault("fabio", "gateway-kill", { failed: 200, outageMs: 900 }),
        ];
        const found = Object.fromEntries(agreement(first, second).map(({ figure, agreeing }) => [figure, agreeing]));
        assert.equal(found["throughput, calls per second"], 0);
        // Only the kept connections differ.
        assert.equal(found["failed calls at 50 % load"], 1);
        assert.deepEqual(agreement(first, []), []);
    });

    const records: BenchRecord[] = [
        run,
        {
            kind: "ceiling",
            at,
            mix: "kept",
            perSecond: 40_000,
            cores: 1,
            open: { rate: 20_000, cores: 0.6, started: 1, failed: 0 },
        },
        ...Object.keys(looks).flatMap((variant) => [
            ...mixes.flatMap((mix) => [saturation(variant, mix, 1000), latency(variant, mix, [500, 900, 2_000])]),
            ...["gateway-kill", "route-changes", "agent-restart"].map((name) =>
                fault(variant, name, { failed: 3, outageMs: 7, latency: { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 } }),
            ),
        ]),
        ...[2, 4].map(
            (size): BenchRecord => ({
                kind: "pool",
                cell: { kind: "pool", variant: "fabio", size },
                ...{ repeat: 0, at, bootMs: 1, idle: noParts },
                loaded: { rate: 500, outcome: { started: 1, failed: 0 }, parts: noParts },
            }),
        ),
    ];

    it("draws every figure, with the variants' colours and axis titles", async () => {
        const made = figures(records);
        assert.deepEqual(
            made.map(({ name }) => name),
            ["latency", "throughput", "failed-calls", "outage", "ablations", "resources", "pool", "churn"],
        );
        const axes: Record<string, RegExp> = {
            latency: /latency, ms/,
            throughput: /calls per second/,
            "failed-calls": /failed calls/,
            outage: /outage, ms/,
            ablations: /failed calls/,
            resources: /MiB/,
            pool: /gateways/,
            churn: /latency, ms/,
        };
        for (const figure of made) {
            const svg = await svgOf(figure);
            assert.match(svg, /^<svg [^>]*><title>[^<]+<\/title>/);
            assert.match(svg, axes[figure.name] as RegExp, figure.name);
            assert.doesNotMatch(svg, /NaN|undefined|Infinity/, figure.name);
            if (figure.name !== "resources") assert.match(svg, new RegExp(looks.fabio?.color ?? ""), figure.name);
        }
        assert.deepEqual(figures([run]), []);
    });

    it("writes a self-contained page, the figures, and the tables of a document", async () => {
        const directory = mkdtempSync(join(tmpdir(), "bench-report-"));
        try {
            const journal = join(directory, "run.jsonl");
            for (const record of records) appendRecord(journal, record);
            const document = join(directory, "comparison.md");
            writeFileSync(document, "before\n<!-- table: goals -->\nold\n<!-- end -->\nafter\n");
            const written = await writeReport({ journals: [journal], out: join(directory, "out"), document });
            assert.equal(written.length, 8 + 2);
            const page = readFileSync(join(directory, "out/report.html"), "utf8");
            assert.doesNotMatch(page, /<script[^>]+src=|<link|@import/);
            assert.equal(page.match(/<\/script>/g)?.length, 2);
            const text = readFileSync(document, "utf8");
            assert.match(text, /^before\n<!-- table: goals -->\n\n\| goal \|/);
            assert.match(text, /<!-- end -->\nafter\n$/);
            assert.doesNotMatch(text, /old/);
            // The same data gives the same files.
            await writeReport({ journals: [journal], out: join(directory, "out"), document });
            assert.equal(readFileSync(document, "utf8"), text);
            assert.equal(readFileSync(join(directory, "out/report.html"), "utf8"), page);
        } finally {
            rmSync(directory, { recursive: true });
        }
    });

    it("rejects an unknown table and missing raw data", async () => {
        assert.throws(() => withTables("<!-- table: none -->\n<!-- end -->", tables(records)), /No table "none"/);
        await assert.rejects(writeReport({ journals: [], out: "/nowhere" }), /no raw data/);
        await assert.rejects(
            writeReport({ journals: ["/nowhere/run.jsonl"], out: "/nowhere" }),
            /Run "npm run bench" first/,
        );
    });

    it("escapes text in HTML and Markdown", () => {
        assert.equal(escapeHtml('<a href="x">&'), "&lt;a href=&quot;x&quot;&gt;&amp;");
        const table = { name: "t", title: "T", heading: ["a"], rows: [["x | y"]] };
        assert.equal(markdownOf(table), "| a |\n| --- |\n| x \\| y |");
    });
});
