/**
 * `npm run test:matrix`: runs the unit tests on each Node that the project supports. The pinned one is installed. npm fetches
 * the others as packages into its own cache. The last line sums the counts of all runs.
 *
 * Arguments are passed to mocha: `npm run test:matrix -- --grep NAME`.
 */
import { execFile, spawn } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { nodeExecutable, pinnedNode } from "../toolchain/node";

/**
 * The oldest Node that Pulumi's SDK supports, the pinned one, and the newest. Each is on the registry for x64 and
 * arm64.
 */
const VERSIONS = ["22.23.5", pinnedNode.version, "26.12.1"] as const;

const MOCHA = ["node_modules/mocha/bin/mocha.js", "--parallel", "--jobs", "3", "tests/unit/**/*.test.ts"];

/** The executable of a Node, which npm fetches if needed. */
async function nodeOf(version: string): Promise<string> {
    if (version === pinnedNode.version) return nodeExecutable();
    const spec = `node-linux-${process.arch}@${version}`;
    const print = 'node -p "process.execPath"';
    const { stdout } = await promisify(execFile)("npm", ["exec", "--yes", "--package", spec, "--call", print]);
    return stdout.trim();
}

/** Runs the unit tests on a Node. @returns the counts of mocha's report. */
function test(node: string): Promise<{ passed: number; failed: number; skipped: number }> {
    const PATH = `${dirname(node)}:${process.env.PATH ?? ""}`;
    const child = spawn(node, [...MOCHA, ...process.argv.slice(2)], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, PATH },
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
        process.stdout.write(chunk);
        output += chunk.toString();
    });
    const count = (word: string) => Number(new RegExp(`^\\s*(\\d+) ${word}`, "m").exec(output)?.[1] ?? 0);
    return new Promise((done, fail) => {
        child.on("error", fail);
        child.on("close", (code) => {
            const counts = { passed: count("passing"), failed: count("failing"), skipped: count("pending") };
            // A runner that died before its report counts as a failure.
            if ((code !== 0 || counts.passed === 0) && counts.failed === 0) counts.failed = 1;
            done(counts);
        });
    });
}

async function main(): Promise<void> {
    const results: { version: string; passed: number; failed: number; skipped: number }[] = [];
    for (const version of VERSIONS) {
        console.log(`\n== Node ${version}`);
        results.push({ version, ...(await test(await nodeOf(version))) });
    }
    console.log();
    for (const { version, passed, failed, skipped } of results)
        console.log(`Node ${version.padEnd(8)} ${passed} passed, ${failed} failed, ${skipped} skipped`);
    const sum = (key: "passed" | "failed" | "skipped") => results.reduce((total, each) => total + each[key], 0);
    console.log(`\n${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
    process.exitCode = sum("failed") > 0 ? 1 : 0;
}

void main();
