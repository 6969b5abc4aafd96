import * as assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
    appendRecord,
    type BenchRecord,
    isDisturbed,
    isTrialRecord,
    type RunRecord,
    readRecords,
    resumedRun,
    type TrialRecord,
} from "../../bench/benchRecords";
import { slowestSaturation } from "../../bench/comparisonRun";
import { comparisonFaults, faults } from "../../bench/faultInjection";
import { cpuTicks, residentBytes } from "../../bench/processUsage";
import { RunProgress } from "../../bench/runProgress";
import {
    ablations,
    type Cell,
    cellKey,
    directVariant,
    faultNames,
    mixes,
    phaseOf,
    planBlocks,
    profiles,
    remainingTrials,
    selectTrials,
    stackOf,
    stackVariants,
    type Trial,
    trialKey,
} from "../../bench/trialMatrix";

const trialsOf = (name: keyof typeof profiles, seed = 1) =>
    planBlocks(profiles[name], seed).flatMap((block) => block.trials);

describe("bench: matrix", () => {
    it("gives the same plan for the same seed, and another for another seed", () => {
        assert.deepEqual(planBlocks(profiles.standard, 7), planBlocks(profiles.standard, 7));
        assert.notDeepEqual(planBlocks(profiles.standard, 7), planBlocks(profiles.standard, 8));
        const sorted = (seed: number) => trialsOf("standard", seed).map(trialKey).sort();
        assert.deepEqual(sorted(7), sorted(8));
    });

    it("measures every trial once, on the deployment that it belongs to", () => {
        for (const name of ["quick", "standard", "full"] as const) {
            const keys = trialsOf(name).map(trialKey);
            assert.equal(new Set(keys).size, keys.length, name);
            for (const { stack, trials } of planBlocks(profiles[name], 1)) {
                for (const { cell } of trials) assert.equal(stackOf(cell), stack);
            }
        }
    });

    it("measures all saturations before anything whose rate derives from them", () => {
        for (const name of ["quick", "standard", "full"] as const) {
            const trials = trialsOf(name);
            const first = trials.findIndex(({ cell }) => cell.kind !== "saturation");
            const before = new Set(trials.slice(0, first).map(({ cell }) => cellKey(cell)));
            for (const { name: variant } of [directVariant, ...stackVariants]) {
                for (const mix of mixes)
                    assert.ok(before.has(cellKey({ kind: "saturation", variant, mix })), `${name} ${variant}`);
            }
        }
    });

    it("has 20 repeats of every stack, fault and load, every ablation and every size in the full profile", () => {
        const counts = new Map<string, number>();
        for (const { cell } of trialsOf("full")) counts.set(cellKey(cell), (counts.get(cellKey(cell)) ?? 0) + 1);
        for (const { name: variant } of stackVariants) {
            for (const fault of faultNames) {
                for (const load of [30, 50, 70]) {
                    const expected = variant === "serf-haproxy" && fault === "consul-leader" ? undefined : 20;
                    assert.equal(
                        counts.get(cellKey({ kind: "fault", variant, fault, load })),
                        expected,
                        `${variant} ${fault}`,
                    );
                }
            }
            for (const size of [2, 4, 8, 16]) assert.equal(counts.get(cellKey({ kind: "pool", variant, size })), 20);
        }
        for (const { name: variant } of [directVariant, ...ablations]) {
            assert.equal(counts.get(cellKey({ kind: "fault", variant, fault: "gateway-kill", load: 50 })), 20);
        }
    });

    it("names existing faults, each once", () => {
        const known = [...faults, ...comparisonFaults].map(({ name }) => name);
        assert.equal(new Set(known).size, known.length);
        for (const name of faultNames) assert.ok(known.includes(name), name);
    });

    it("measures pools last and from small to large, because they boot more gateways", () => {
        for (const { trials } of planBlocks(profiles.standard, 5)) {
            const first = trials.findIndex(({ cell }) => cell.kind === "pool");
            if (first < 0) continue;
            const sizes = trials.slice(first).map(({ cell }) => (cell.kind === "pool" ? cell.size : 0));
            assert.deepEqual(sizes, [2, 4, 8, 16]);
        }
    });

    it("shuffles the order of the stacks", () => {
        const orders = new Set<string>();
        for (let seed = 1; seed <= 20; seed++) {
            orders.add(
                planBlocks(profiles.quick, seed)
                    .slice(0, 3)
                    .map(({ stack }) => stack)
                    .join(),
            );
        }
        assert.ok(orders.size > 3, [...orders].join("; "));
    });

    it("spreads the phases of faults over a second, the same for the same seed", () => {
        const trials = trialsOf("full").filter(({ cell }) => cell.kind === "fault");
        const phases = trials.map((trial) => phaseOf(trial, 1));
        for (let tenth = 0; tenth < 10; tenth++) {
            const share = phases.filter((phase) => Math.floor(phase * 10) === tenth).length / phases.length;
            assert.ok(share > 0.05 && share < 0.15, `${tenth}: ${share}`);
        }
        const [trial] = trials as [Trial];
        assert.equal(phaseOf(trial, 1), phases[0]);
        assert.notEqual(phaseOf(trial, 2), phases[0]);
    });

    it("removes finished trials and empty blocks from a plan", () => {
        const plan = planBlocks(profiles.quick, 1);
        const [first, second] = plan as [(typeof plan)[number], (typeof plan)[number]];
        const done = new Set([...first.trials, ...second.trials.slice(0, 1)].map(trialKey));
        const left = remainingTrials(plan, done);
        assert.equal(left.length, plan.length - 1);
        assert.deepEqual(left[0]?.trials, second.trials.slice(1));
        assert.deepEqual(remainingTrials(plan, new Set(plan.flatMap(({ trials }) => trials).map(trialKey))), []);
    });

    it("selects trials, and keeps the saturations that their rates derive from", () => {
        const cut = selectTrials(planBlocks(profiles.standard, 1), /^fault\/fabio\/gateway-kill\//);
        const kinds = cut.flatMap(({ trials }) => trials).map(({ cell }) => cell.kind);
        assert.equal(kinds.filter((kind) => kind === "saturation").length, 8);
        assert.equal(kinds.filter((kind) => kind === "fault").length, 5);
        assert.equal(kinds.length, 13);
    });
});

describe("bench: journal", () => {
    const run: RunRecord = {
        kind: "run",
        profile: "quick",
        seed: 1,
        at: "2026-01-01T00:00:00.000Z",
        host: { cpu: "a", cores: 2, memoryGib: 8, kernel: "6" },
        versions: {},
    };
    const saturation = (variant: string, perSecond: number, repeat = 0): BenchRecord => ({
        kind: "saturation",
        cell: { kind: "saturation", variant, mix: "kept" },
        repeat,
        at: run.at,
        perSecond,
        failed: 0,
        parts: Object.fromEntries(
            ["proxy", "helpers", "registry", "gateways", "sidecars", "generator"].map((part) => [
                part,
                { cores: 0, mib: 0 },
            ]),
        ) as never,
        busy: 1,
    });
    let directory: string;
    let path: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "bench-journal-"));
        path = join(directory, "new", "run.jsonl");
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    it("reads back what was written, and lists finished trials", () => {
        assert.deepEqual(readRecords(path), []);
        appendRecord(path, run);
        appendRecord(path, saturation("fabio", 100));
        const records = readRecords(path);
        assert.deepEqual(records, [run, saturation("fabio", 100)]);
        assert.deepEqual(records.filter(isTrialRecord).map(trialKey), ["saturation/fabio/kept#0"]);
    });

    it("removes an incomplete last line", () => {
        appendRecord(path, run);
        appendFileSync(path, '{"kind":"satur');
        assert.deepEqual(readRecords(path), [run]);
        appendRecord(path, saturation("fabio", 100));
        assert.deepEqual(readRecords(path), [run, saturation("fabio", 100)]);
        assert.equal(readFileSync(path, "utf8").split("\n").length, 3);
    });

    it("rejects an invalid line in the middle, and a journal of another run", () => {
        appendRecord(path, run);
        writeFileSync(path, `${JSON.stringify(run)}\n{\n`);
        assert.throws(() => readRecords(path), /run\.jsonl:2 is not JSON/);
        assert.equal(resumedRun(path, [run], { profile: "quick", seed: 1 }), run);
        assert.equal(resumedRun(path, [], { profile: "quick", seed: 1 }), undefined);
        assert.throws(() => resumedRun(path, [run], { profile: "quick", seed: 2 }), /seed 1, not quick and 2/);
        assert.throws(() => resumedRun(path, [run], { profile: "full", seed: 1 }), /profile quick/);
        assert.throws(() => resumedRun(path, [saturation("fabio", 1)], { profile: "full", seed: 1 }), /does not begin/);
    });

    it("takes the slowest stack's first saturation as 100 %", () => {
        const records = [
            saturation("direct", 50),
            saturation("fabio", 90),
            saturation("serf-haproxy", 300),
            saturation("consul-template-haproxy", 200),
            saturation("fabio", 10, 1),
        ];
        assert.equal(slowestSaturation(records, "kept"), 90);
        assert.throws(() => slowestSaturation(records, "perCall"), /has not been measured/);
    });

    it("detects trials in which the generator was late", () => {
        const record = (p99: number): TrialRecord => ({
            kind: "latency",
            cell: { kind: "latency", variant: "fabio", mix: "kept", load: 50 },
            ...{ repeat: 0, at: run.at, rate: 1, histogram: "", busy: 1 },
            parts: {} as never,
            outcome: { started: 1, failed: 0, late: { p99, max: 900 } },
        });
        assert.equal(isDisturbed(record(19)), false);
        assert.equal(isDisturbed(record(21)), true);
        assert.equal(isDisturbed(saturation("fabio", 1) as TrialRecord), false);
    });

    it("parses CPU time and memory as the kernel writes them", () => {
        const stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 100 200 300";
        assert.equal(cpuTicks(stat), 200);
        assert.equal(residentBytes("Name:\tnode\nVmHWM:\t     900 kB\nVmRSS:\t     512 kB\n"), 512 * 1024);
    });
});

describe("bench: progress", () => {
    it("counts what is left, and learns from the durations of trials", () => {
        const cell: Cell = { kind: "saturation", variant: "fabio", mix: "kept" };
        const trials = [0, 1, 2, 3].map((repeat) => ({ cell, repeat }));
        const progress = new RunProgress([{ stack: "fabio", trials }]);
        assert.equal(progress.left, 4);
        const before = progress.timeLeft();
        assert.match(before, /^\d+ s$/);
        progress.done(trials[0] as Trial, 80);
        assert.equal(progress.left, 3);
        assert.match(progress.line(), /^\[1\/4, 4 min left\]$/);
    });
});
