/**
 * Runs suites of tests: several at a time, the longest first, each with a time limit. A suite that depends on how busy the
 * computer is, and failed beside another one, runs once more, alone.
 */

/** A suite, with the command that runs it. */
export interface Suite {
    readonly name: string;
    readonly command: readonly string[];
    /** Where its result stands: in mocha's report, or in the exit code alone, which counts as one test. */
    readonly result: "mocha" | "exitCode";
    /** Whether it is part of `npm test`. */
    readonly quick: boolean;
    /** Longest time that it may take beside another suite on two cores, minutes. After that it is ended, and has failed. */
    readonly minutes: number;
    /**
     * How it uses the computer. A suite that `computes` uses all the processor time it gets, so it has a lower priority. A suite
     * that `waits` works with processes and machines that have deadlines, which a busy computer may miss.
     */
    readonly load: "computes" | "waits";
    /** Suites that it must not run beside, because it changes files that they read. Default none. */
    readonly notBeside?: readonly string[];
}

const npm = (script: string) => ["npm", "run", "--silent", script];

/** Every suite. Those that take longest come first. */
export const suites: readonly Suite[] = [
    {
        name: "e2e-openstack",
        command: npm("e2e:openstack"),
        result: "mocha",
        quick: false,
        minutes: 40,
        load: "waits",
    },
    { name: "e2e-aws", command: npm("e2e:aws"), result: "mocha", quick: false, minutes: 30, load: "waits" },
    {
        name: "scenarios",
        command: npm("test:scenarios"),
        result: "mocha",
        quick: false,
        minutes: 25,
        load: "waits",
        // Pulumi's command line writes into Pulumi.local.yaml for a while.
        notBeside: ["local", "unit"],
    },
    { name: "upgrade", command: npm("test:upgrade"), result: "mocha", quick: false, minutes: 12, load: "waits" },
    { name: "hosts", command: npm("test:hosts"), result: "mocha", quick: false, minutes: 10, load: "waits" },
    { name: "local", command: npm("test:local"), result: "mocha", quick: true, minutes: 15, load: "waits" },
    { name: "unit", command: npm("test:unit"), result: "mocha", quick: true, minutes: 8, load: "waits" },
    {
        name: "types",
        command: ["npx", "--no-install", "tsc", "-p", "."],
        result: "exitCode",
        quick: true,
        minutes: 8,
        load: "computes",
    },
    { name: "simulation", command: npm("test:simulation"), result: "mocha", quick: true, minutes: 8, load: "waits" },
    { name: "lint", command: npm("lint"), result: "exitCode", quick: true, minutes: 8, load: "computes" },
];

/** How many tests ended how. */
export interface Counts {
    readonly passed: number;
    readonly failed: number;
    readonly skipped: number;
}

/** What a run of a suite's command ended with. */
export interface Ended {
    /** Its exit code; other than 0 when it was ended from outside. */
    readonly code: number;
    /** What it printed on its standard output. */
    readonly output: string;
}

/** How suites are run. */
export interface RunOptions {
    /** How many run at a time. */
    readonly atOnce: number;
    /** Whether a suite that `waits` and failed runs once more, alone, after all others. */
    readonly again: boolean;
    /** Returns the minutes left. A suite that may take longer does not begin, and counts as skipped. */
    readonly minutesLeft: () => number;
    /** Returns whether somebody has ended the run. No further suite begins then. */
    readonly interrupted: () => boolean;
    /** Receives messages about the progress. */
    readonly say: (line: string) => void;
    /**
     * Runs the suite's command until it ends.
     *
     * @param alone whether no other suite runs meanwhile.
     */
    readonly run: (suite: Suite, alone: boolean) => Promise<Ended>;
}

/** Runs suites, and says at the end what failed and why. @returns the counts of all of them together. */
export async function runSuites(chosen: readonly Suite[], options: RunOptions): Promise<Counts> {
    const results = new Map<string, Counts>();
    const failures = new Map<string, string>();
    const one = async (suite: Suite, alone: boolean) => {
        const { name, minutes } = suite;
        if (options.interrupted()) return;
        if (options.minutesLeft() < minutes) {
            options.say(`== ${name}: not begun, because there is not enough time left`);
            // Without a second try, the result of the first one stays.
            if (!results.has(name)) results.set(name, { passed: 0, failed: 0, skipped: 1 });
            return;
        }
        const startedAt = Date.now();
        options.say(`== ${name}: begins`);
        const ended = await options.run(suite, alone);
        const counts = countsOf(suite, ended);
        results.set(name, counts);
        if (counts.failed > 0) failures.set(name, failureOf(suite, ended));
        else failures.delete(name);
        options.say(`== ${name}: ${text(counts)} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
    };
    const waiting = [...chosen];
    const running = new Map<Suite, Promise<void>>();
    const mayBegin = (suite: Suite) =>
        [...running.keys()].every(
            (each) => !each.notBeside?.includes(suite.name) && !suite.notBeside?.includes(each.name),
        );
    const alone = options.atOnce === 1 || chosen.length === 1;
    while (waiting.length > 0 || running.size > 0) {
        const [next] = running.size < options.atOnce ? waiting.splice(indexOf(waiting, mayBegin), 1) : [];
        if (next) {
            const ended = one(next, alone).finally(() => running.delete(next));
            running.set(next, ended);
        } else await Promise.race(running.values());
    }
    if (options.again) {
        for (const suite of chosen) {
            if (suite.load !== "waits" || (results.get(suite.name)?.failed ?? 0) === 0) continue;
            options.say(`== ${suite.name}: once more, alone`);
            await one(suite, true);
        }
    }
    for (const [name, failure] of failures) options.say(`== ${name} failed:\n${failure}`);
    return [...results.values()].reduce(sum, { passed: 0, failed: 0, skipped: 0 });
}

/** The index of the first element that a condition holds for; that behind the last when there is none. */
function indexOf<T>(list: readonly T[], condition: (element: T) => boolean): number {
    const found = list.findIndex(condition);
    return found < 0 ? list.length : found;
}

const sum = (a: Counts, b: Counts): Counts => ({
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
});

/** Counts as text, as the last line of a run has them. */
export function text({ passed, failed, skipped }: Counts): string {
    return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** What a failed run says of its failures: the end of mocha's report, or else the last lines of the output. */
export function failureOf({ result }: Pick<Suite, "result">, { code, output }: Ended): string {
    const report = result === "mocha" ? /^\s*\d+ failing\s*$/m.exec(output) : null;
    if (report) return output.slice(report.index + report[0].length).trim();
    return [...output.trimEnd().split("\n").slice(-20), `(exit code ${code})`].join("\n");
}

/** Counts a run. A runner that ended before its report has failed, whatever it counted before. */
export function countsOf({ result }: Pick<Suite, "result">, { code, output }: Ended): Counts {
    if (result === "exitCode") return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
    // The closing lines of mocha's report.
    const count = (word: string) => Number(new RegExp(`^\\s*(\\d+) ${word}`, "m").exec(output)?.[1] ?? 0);
    const counts = { passed: count("passing"), failed: count("failing"), skipped: count("pending") };
    const isWhole = code === 0 && counts.passed + counts.skipped > 0;
    return isWhole || counts.failed > 0 ? counts : { ...counts, failed: 1 };
}
