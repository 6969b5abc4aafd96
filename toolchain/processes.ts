/** Runs commands, and finds executables. */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { SourceError } from "./errors";

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
    /** Ends the command and all its children. {@link run} then throws the signal's reason. */
    readonly signal?: AbortSignal | undefined;
    /** Milliseconds after which the command is ended and {@link run} throws a {@link SourceError}. */
    readonly timeoutMs: number;
    /** Receives each line of standard output and standard error. */
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

/** How much of the end of a command's output is kept, in characters. */
const OUTPUT_KEPT = 100_000;

/** Milliseconds between asking a command to end and ending it by force. */
const KILL_AFTER_MS = 3_000;

/** A command prefix that makes the kernel kill the command when its parent dies; empty without util-linux. */
function dieWithParent(): string[] {
    const setpriv = findOnPath("setpriv");
    // BusyBox's setpriv lacks the option.
    if (!setpriv || path.basename(fs.realpathSync(setpriv)) !== "setpriv") return [];
    return [setpriv, "--pdeathsig", "KILL", "--"];
}

/**
 * Runs a command without a shell and without input, and waits for its end.
 *
 * The command has its own process group, which is ended as a whole. Where `setpriv` exists, the kernel kills the command
 * when this process dies, so that even `kill -9` leaves nothing behind.
 *
 * @throws SourceError when the command cannot be started or takes too long; the signal's reason when aborted.
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

/** The last `count` non-empty lines of a text, as one line. */
export function lastLines(text: string, count: number): string {
    return text
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean)
        .slice(-count)
        .join("; ");
}
