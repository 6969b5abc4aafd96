/**
 * `npm test`: the type checker, the linter and every quick suite, or with `npm test -- SUITE...` just those named; the last
 * line sums what their runners reported.
 */
import { spawn } from "node:child_process";

/** A suite, with the command that runs it; the checks without a count of their own count as one. */
interface Suite {
    readonly name: string;
    readonly command: readonly string[];
    readonly mocha: boolean;
}

const QUICK: readonly Suite[] = [
    { name: "types", command: ["npx", "--no-install", "tsc", "-p", "."], mocha: false },
    { name: "lint", command: ["npx", "--no-install", "biome", "check", "."], mocha: false },
    { name: "unit", command: ["npm", "run", "--silent", "test:unit"], mocha: true },
    { name: "simulation", command: ["npm", "run", "--silent", "test:simulation"], mocha: true },
    { name: "local", command: ["npm", "run", "--silent", "test:local"], mocha: true },
];
/** What takes longer than one waits for: only when named. */
const SLOW: readonly Suite[] = [
    { name: "scenarios", command: ["npm", "run", "--silent", "test:scenarios"], mocha: true },
    { name: "e2e-openstack", command: ["npm", "run", "--silent", "e2e:openstack"], mocha: true },
    { name: "hosts", command: ["npm", "run", "--silent", "test:hosts"], mocha: true },
    { name: "e2e-aws", command: ["npm", "run", "--silent", "e2e:aws"], mocha: true },
];

interface Counts {
    passed: number;
    failed: number;
    skipped: number;
}

/** Somebody has ended the run: no further suite is begun. */
let interrupted = false;

/** How long a suite may take before it counts as hung, minutes. */
const DEADLINE_MINUTES = 35;

function run(command: readonly string[]): Promise<{ code: number; output: string }> {
    return new Promise((done) => {
        // A group of its own, so that all of it can be ended.
        const child = spawn(command[0] as string, command.slice(1), {
            stdio: ["ignore", "pipe", "inherit"],
            detached: true,
        });
        const end = (signal: NodeJS.Signals) => {
            interrupted ||= signal !== "SIGKILL";
            if (child.pid !== undefined) process.kill(-child.pid, signal);
        };
        const deadline = setTimeout(() => {
            console.log(`\n== not done after ${DEADLINE_MINUTES} minutes: ended`);
            end("SIGKILL");
        }, DEADLINE_MINUTES * 60_000);
        for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, end);
        let output = "";
        child.stdout.on("data", (chunk: Buffer) => {
            process.stdout.write(chunk);
            output += chunk.toString();
        });
        child.on("error", (error) => done({ code: 1, output: error.message }));
        child.on("close", (code) => {
            clearTimeout(deadline);
            for (const signal of ["SIGINT", "SIGTERM"] as const) process.removeListener(signal, end);
            done({ code: code ?? 1, output });
        });
    });
}

/** The closing lines of mocha's report. */
function mochaCounts(output: string): Counts {
    const count = (word: string) => Number(new RegExp(`^\\s*(\\d+) ${word}`, "m").exec(output)?.[1] ?? 0);
    return { passed: count("passing"), failed: count("failing"), skipped: count("pending") };
}

async function main(): Promise<void> {
    const names = process.argv.slice(2);
    const known = [...QUICK, ...SLOW];
    const unknown = names.filter((name) => !known.some((suite) => suite.name === name));
    if (unknown.length > 0) {
        console.error(`no such suite: ${unknown.join(", ")}; there are: ${known.map(({ name }) => name).join(", ")}`);
        process.exitCode = 1;
        return;
    }
    const total: Counts = { passed: 0, failed: 0, skipped: 0 };
    for (const { name, command, mocha } of names.length > 0
        ? known.filter((suite) => names.includes(suite.name))
        : QUICK) {
        if (interrupted) break;
        const startedAt = Date.now();
        console.log(`\n== ${name}`);
        const { code, output } = await run(command);
        const counts = mocha
            ? mochaCounts(output)
            : { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
        // A runner that died before its report has failed, whatever it had counted.
        if (code !== 0 && counts.failed === 0) counts.failed = 1;
        if (mocha && counts.passed + counts.failed + counts.skipped === 0) counts.failed = 1;
        total.passed += counts.passed;
        total.failed += counts.failed;
        total.skipped += counts.skipped;
        console.log(`== ${name}: ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
    }
    console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
    process.exitCode = total.failed > 0 ? 1 : 0;
}

void main();
