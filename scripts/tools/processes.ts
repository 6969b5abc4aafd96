/** Running commands, and telling whether a process that left something behind still lives. */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { SourceError } from "./errors";

/** A process, told apart from a later one with the same id by the time at which it started. */
export interface Owner {
    readonly pid: number;
    /** Start time in clock ticks since boot (field 22 of /proc/PID/stat), or "0" where there is no /proc. */
    readonly started: string;
}

/** State and start time of a process; undefined when there is none. */
function stat(pid: number): { state: string; started: string } | undefined {
    let text: string;
    try {
        text = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    } catch {
        return undefined;
    }
    // The second field, the command's name, is in parentheses and may hold anything.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "", started: fields[19] ?? "0" };
}

/** This process. */
export function self(): Owner {
    return { pid: process.pid, started: stat(process.pid)?.started ?? "0" };
}

/** Whether a process still runs. A zombie does not. */
export function isAlive(owner: Owner): boolean {
    const found = stat(owner.pid);
    if (found) return found.started === owner.started && found.state !== "Z" && found.state !== "X";
    if (fs.existsSync("/proc/self/stat")) return false;
    try {
        process.kill(owner.pid, 0);
        return true;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "EPERM";
    }
}

/** Whether a path is a file that this user may execute. */
export function isExecutable(file: string): boolean {
    try {
        fs.accessSync(file, fs.constants.X_OK);
        return fs.statSync(file).isFile();
    } catch {
        return false;
    }
}

/** The first executable of that name on PATH, or undefined. */
export function findOnPath(name: string, environment: NodeJS.ProcessEnv = process.env): string | undefined {
    return (environment.PATH ?? "")
        .split(path.delimiter)
        .filter((directory) => path.isAbsolute(directory))
        .map((directory) => path.join(directory, name))
        .find(isExecutable);
}

/** How a command is run. */
export interface RunOptions {
    readonly cwd?: string;
    readonly env?: NodeJS.ProcessEnv;
    /** Ends the command, with all it started; {@link run} then throws the signal's reason. */
    readonly signal?: AbortSignal | undefined;
    /** Milliseconds after which the command is ended and a {@link SourceError} thrown. */
    readonly timeoutMs: number;
    /** Gets each line of the standard output and of the standard error. */
    readonly onLine?: (line: string) => void;
}

/** How a command ended. */
export interface RunResult {
    /** Exit code, or 128 plus a number when a signal ended it. */
    readonly code: number;
    readonly stdout: string;
    /** Both outputs, mixed. */
    readonly output: string;
}

/** Kept of a command's output, in characters, from its end. */
const OUTPUT_KEPT = 100_000;

/** Milliseconds between asking a command to end and ending it by force. */
const KILL_AFTER_MS = 3_000;

/** Words before a command that make the kernel kill it when its parent dies; none where util-linux is not there. */
function dieWithParent(): string[] {
    const setpriv = findOnPath("setpriv");
    // BusyBox's does not know the option.
    if (!setpriv || path.basename(fs.realpathSync(setpriv)) !== "setpriv") return [];
    return [setpriv, "--pdeathsig", "KILL", "--"];
}

/**
 * Runs a command without a shell and without input, and waits for its end.
 *
 * The command has its own process group, which is ended as a whole, and (where `setpriv` exists) is killed by the kernel
 * when this process dies, so that nothing is left behind even by a `kill -9`.
 *
 * @throws SourceError when it cannot be started or takes too long; the signal's reason when aborted.
 */
export async function run(argv: readonly string[], options: RunOptions): Promise<RunResult> {
    options.signal?.throwIfAborted();
    const [command, ...args] = [...dieWithParent(), ...argv] as [string];
    const child = spawn(command, args, {
        cwd: options.cwd,
        env: options.env ?? process.env,
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
    });

    let [stdout, output] = ["", ""];
    let ended: Error | undefined;
    const timers: NodeJS.Timeout[] = [];
    const end = (reason: Error) => {
        if (ended) return;
        ended = reason;
        const signalGroup = (signal: NodeJS.Signals) => {
            try {
                if (child.pid) process.kill(-child.pid, signal);
            } catch {
                // It has ended by itself.
            }
        };
        signalGroup("SIGTERM");
        timers.push(setTimeout(() => signalGroup("SIGKILL"), KILL_AFTER_MS));
    };
    const onAbort = () => end(options.signal?.reason);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    const name = path.basename(argv[0] ?? "");
    timers.push(
        setTimeout(
            () => end(new SourceError(`${name} did not finish within ${Math.round(options.timeoutMs / 1000)} s`)),
            options.timeoutMs,
        ),
    );

    for (const stream of [child.stdout, child.stderr]) {
        let rest = "";
        stream.setEncoding("utf8");
        stream.on("data", (text: string) => {
            output = (output + text).slice(-OUTPUT_KEPT);
            if (stream === child.stdout) stdout = (stdout + text).slice(-OUTPUT_KEPT);
            const lines = (rest + text).split("\n");
            rest = lines.pop() ?? "";
            for (const line of lines) options.onLine?.(line);
        });
        stream.on("end", () => rest && options.onLine?.(rest));
    }

    try {
        const code = await new Promise<number>((resolve, reject) => {
            child.on("error", (error) => reject(new SourceError(`${name} cannot be run: ${error.message}`)));
            child.on("close", (exit, signal) => resolve(exit ?? (signal ? 128 : 1)));
        });
        if (ended) throw ended;
        return { code, stdout, output };
    } finally {
        options.signal?.removeEventListener("abort", onAbort);
        for (const timer of timers) clearTimeout(timer);
    }
}

/** The last `count` lines of a text that say something, as one line. */
export function lastLines(text: string, count: number): string {
    return text
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean)
        .slice(-count)
        .join("; ");
}
