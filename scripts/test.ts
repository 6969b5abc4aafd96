/**
 * `npm test` runs the type checker, the linter and every quick suite. `npm test -- SUITE...` runs the named suites, and
 * `npm test -- all` runs every one. The last line sums what the runners reported.
 *
 * - `--at-once N`: how many suites run at a time, by default 2. Each line begins with the name of its suite then.
 * - `--minutes N`: how long the whole may take. A suite that may take longer does not begin. Default: no limit.
 * - `--again`: runs a suite that failed beside another one, and depends on how busy the computer is, once more, alone.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { type Ended, runSuites, type Suite, suites, text } from "./suites";

/** Somebody has ended the run. */
let interrupted = false;
/** The process groups of the suites that run. */
const running = new Set<number>();

function end(signal: NodeJS.Signals): void {
    for (const pid of running) {
        try {
            process.kill(-pid, signal);
        } catch {
            // The suite has just ended by itself.
        }
    }
}

/** Writes lines as they come, each with a prefix. */
function lines(prefix: string, out: NodeJS.WritableStream) {
    let rest = "";
    return {
        write(chunk: string) {
            const all = (rest + chunk).split("\n");
            rest = all.pop() ?? "";
            for (const line of all) out.write(`${prefix}${line}\n`);
        },
        close() {
            if (rest !== "") out.write(`${prefix}${rest}\n`);
        },
    };
}

function run({ name, command, minutes, load }: Suite, alone: boolean): Promise<Ended> {
    const [program, ...args] = load === "computes" && !alone ? ["nice", "-n", "10", ...command] : command;
    const prefix = alone ? "" : `${name} | `;
    const [stdout, stderr] = [lines(prefix, process.stdout), lines(prefix, process.stderr)];
    return new Promise((done) => {
        // A group of its own, so that all of it can be ended.
        const child = spawn(program as string, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
        const { pid } = child;
        if (pid !== undefined) running.add(pid);
        const deadline = setTimeout(() => {
            console.log(`\n== ${name}: not done after ${minutes} minutes: ended`);
            if (pid !== undefined) process.kill(-pid, "SIGKILL");
        }, minutes * 60_000);
        let output = "";
        child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
            stdout.write(chunk);
            output += stripVTControlCharacters(chunk);
        });
        child.stderr.setEncoding("utf8").on("data", (chunk: string) => stderr.write(chunk));
        child.on("error", (error) => {
            clearTimeout(deadline);
            console.error(error.message);
            done({ code: 1, output });
        });
        child.on("close", (code, signal) => {
            clearTimeout(deadline);
            if (pid !== undefined) running.delete(pid);
            stdout.close();
            stderr.close();
            done({ code: code ?? 128 + constants.signals[signal ?? "SIGKILL"], output });
        });
    });
}

async function main(): Promise<void> {
    const { values, positionals: names } = parseArgs({
        allowPositionals: true,
        options: {
            "at-once": { type: "string", default: "2" },
            minutes: { type: "string", default: "Infinity" },
            again: { type: "boolean", default: false },
        },
    });
    const [atOnce, minutes] = [Number(values["at-once"]), Number(values.minutes)];
    if (!(Number.isInteger(atOnce) && atOnce > 0)) throw new Error("--at-once takes a number of suites");
    if (!(minutes > 0)) throw new Error("--minutes takes a number of minutes");
    const unknown = names.filter((name) => name !== "all" && !suites.some((suite) => suite.name === name));
    if (unknown.length > 0) {
        const known = suites.map(({ name }) => name).join(", ");
        throw new Error(`no such suite: ${unknown.join(", ")}; there are: ${known}, and all`);
    }
    const isChosen = ({ name, quick }: Suite) =>
        names.length === 0 ? quick : names.includes("all") || names.includes(name);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
        process.on(signal, () => {
            interrupted = true;
            end(signal);
        });
    }
    const counts = await runSuites(suites.filter(isChosen), {
        atOnce,
        again: values.again,
        minutesLeft: () => minutes - process.uptime() / 60,
        interrupted: () => interrupted,
        say: (line) => console.log(`\n${line}`),
        run,
    });
    console.log(`\n${text(counts)}`);
    process.exitCode = counts.failed > 0 || interrupted ? 1 : 0;
}

main().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
});
