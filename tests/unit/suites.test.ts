import * as assert from "node:assert/strict";
import { countsOf, type Ended, failureOf, type RunOptions, runSuites, type Suite, suites } from "../../scripts/suites";

const report = (passed: number, failed = 0, skipped = 0) =>
    `  12 tests\n\n  ${passed} passing (3s)\n${skipped ? `  ${skipped} pending\n` : ""}${failed ? `  ${failed} failing\n` : ""}`;
const suite = (name: string, more: Partial<Suite> = {}): Suite => ({
    name,
    command: [name],
    result: "mocha",
    quick: true,
    minutes: 10,
    load: "waits",
    ...more,
});
const good: Ended = { code: 0, output: report(1) };
const bad: Ended = { code: 1, output: report(1, 1) };

/** Suites that end when a test says so. */
class Runs {
    /** Names in the order of their beginnings; `!` behind what runs alone. */
    readonly begun: string[] = [];
    private readonly ends = new Map<string, (ended: Ended) => void>();

    readonly run: RunOptions["run"] = ({ name }, alone) => {
        this.begun.push(alone ? `${name}!` : name);
        return new Promise((done) => this.ends.set(name, done));
    };

    async end(name: string, ended: Ended): Promise<void> {
        this.ends.get(name)?.(ended);
        await new Promise(setImmediate);
    }
}

describe("the suites of tests", () => {
    const options = (runs: Runs, more: Partial<RunOptions> = {}): RunOptions => ({
        atOnce: 2,
        again: false,
        minutesLeft: () => 60,
        interrupted: () => false,
        say: () => undefined,
        run: runs.run,
        ...more,
    });

    it("run two at a time, in their order, and are added up", async () => {
        const runs = new Runs();
        const all = runSuites([suite("a"), suite("b"), suite("c")], options(runs));
        assert.deepEqual(runs.begun, ["a", "b"]);
        await runs.end("b", { code: 0, output: report(5, 0, 2) });
        assert.deepEqual(runs.begun, ["a", "b", "c"]);
        await runs.end("c", bad);
        await runs.end("a", good);
        assert.deepEqual(await all, { passed: 7, failed: 1, skipped: 2 });
    });

    it("do not run beside those whose files they change", async () => {
        const runs = new Runs();
        const chosen = [suite("a"), suite("b", { notBeside: ["a", "c"] }), suite("c"), suite("d")];
        const all = runSuites(chosen, options(runs));
        assert.deepEqual(runs.begun, ["a", "c"]);
        await runs.end("a", good);
        assert.deepEqual(runs.begun, ["a", "c", "d"]);
        await runs.end("c", good);
        assert.deepEqual(runs.begun, ["a", "c", "d", "b"]);
        await runs.end("b", good);
        await runs.end("d", good);
        assert.equal((await all).passed, 4);
    });

    it("run once more, alone, when they wait and failed, and then only that counts", async () => {
        const runs = new Runs();
        const chosen = [suite("a"), suite("b", { load: "computes" }), suite("c")];
        const all = runSuites(chosen, options(runs, { again: true }));
        await runs.end("a", bad);
        await runs.end("b", bad);
        assert.deepEqual(runs.begun, ["a", "b", "c"], "not before all others");
        await runs.end("c", good);
        assert.deepEqual(runs.begun, ["a", "b", "c", "a!"]);
        await runs.end("a", good);
        assert.deepEqual(await all, { passed: 3, failed: 1, skipped: 0 });
    });

    it("are not begun when they would not end in time, which counts as skipped, or as what the first try was", async () => {
        const runs = new Runs();
        let left = 15;
        const all = runSuites(
            [suite("a"), suite("b", { minutes: 20 })],
            options(runs, { again: true, minutesLeft: () => left }),
        );
        assert.deepEqual(runs.begun, ["a"]);
        left = 5;
        await runs.end("a", bad);
        assert.deepEqual(await all, { passed: 1, failed: 1, skipped: 1 });
        assert.deepEqual(runs.begun, ["a"]);
    });

    it("are not begun any more once somebody has ended the run", async () => {
        const runs = new Runs();
        let interrupted = false;
        const all = runSuites([suite("a"), suite("b")], options(runs, { atOnce: 1, interrupted: () => interrupted }));
        interrupted = true;
        await runs.end("a", { code: 143, output: "" });
        assert.deepEqual(await all, { passed: 0, failed: 1, skipped: 0 });
        assert.deepEqual(runs.begun, ["a!"]);
    });

    it("that failed are said again at the end, with what failed, unless the second try passed", async () => {
        const runs = new Runs();
        const said: string[] = [];
        const all = runSuites(
            [suite("a"), suite("b", { result: "exitCode", load: "computes" }), suite("c")],
            options(runs, { again: true, say: (line) => said.push(line) }),
        );
        await runs.end("a", { code: 1, output: `${report(1, 1)}\n  1) is whole:\n     not whole\n` });
        await runs.end("b", { code: 2, output: "a.ts(1,1): error\n" });
        await runs.end("c", { code: 1, output: `${report(1, 1)}\n  1) is well:\n     ill\n` });
        await runs.end("a", { code: 1, output: `${report(1, 1)}\n  1) is whole:\n     not yet\n` });
        await runs.end("c", good);
        await all;
        assert.deepEqual(
            said.filter((line) => line.includes("failed:")),
            ["== a failed:\n1) is whole:\n     not yet", "== b failed:\na.ts(1,1): error\n(exit code 2)"],
        );
        assert.equal(failureOf({ result: "mocha" }, { code: 143, output: "  suite\n" }), "  suite\n(exit code 143)");
    });

    it("have failed when their runner ended without a report, or with none but an exit code", () => {
        const mocha = { result: "mocha" } as const;
        assert.deepEqual(countsOf(mocha, { code: 0, output: report(3, 0, 1) }), { passed: 3, failed: 0, skipped: 1 });
        assert.deepEqual(countsOf(mocha, { code: 2, output: report(3, 2) }), { passed: 3, failed: 2, skipped: 0 });
        assert.deepEqual(countsOf(mocha, { code: 1, output: report(3) }), { passed: 3, failed: 1, skipped: 0 });
        assert.deepEqual(countsOf(mocha, { code: 0, output: "" }), { passed: 0, failed: 1, skipped: 0 });
        assert.deepEqual(countsOf(mocha, { code: 0, output: report(0) }), { passed: 0, failed: 1, skipped: 0 });
        assert.deepEqual(countsOf(mocha, { code: 0, output: report(0, 0, 4) }), { passed: 0, failed: 0, skipped: 4 });
        assert.deepEqual(countsOf({ result: "exitCode" }, { code: 0, output: "" }).passed, 1);
        assert.deepEqual(countsOf({ result: "exitCode" }, { code: 1, output: "" }).failed, 1);
    });

    it("have names of their own", () => {
        assert.equal(new Set(suites.map(({ name }) => name)).size, suites.length);
    });
});
