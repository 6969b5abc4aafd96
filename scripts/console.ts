/** Output of the project's commands: lines with times, and one clear message for an error. */

import { UserError } from "../engine/stack";
import { YamlError } from "../lib/yaml";
import { ToolError } from "../toolchain";

const startedAt = Date.now();

/** Prints a line with the seconds since the command started. */
export function say(line: string): void {
    console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${line}`);
}

/** Prints a heading after an empty line. */
export function heading(text: string): void {
    console.log(`\n${text}`);
}

/**
 * Runs a command and sets the exit code. SIGINT, SIGTERM and SIGHUP abort its signal; a second one exits at once.
 *
 * @param remedy tells the user what to do after an interruption.
 */
export async function runCommand(command: (signal: AbortSignal) => Promise<void>, remedy: string): Promise<void> {
    const stop = new AbortController();
    const interrupt = () => {
        if (stop.signal.aborted) process.exit(130);
        console.error(`\nInterrupted; stopping. ${remedy}`);
        stop.abort(new UserError("interrupted"));
    };
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    for (const name of signals) process.on(name, interrupt);
    try {
        await command(stop.signal);
    } catch (error) {
        if (stop.signal.aborted) {
            process.exitCode = 130;
            return;
        }
        console.error(`\n${describe(error as NodeJS.ErrnoException)}`);
        process.exitCode = 1;
    } finally {
        for (const name of signals) process.off(name, interrupt);
    }
}

function describe(error: NodeJS.ErrnoException): string {
    if (error.code === "ENOSPC")
        return `The disk is full (${error.path ?? error.message}): free some space and try again.`;
    if (error.code === "EACCES" || error.code === "EPERM") return `No permission: ${error.message}`;
    // A user can fix these errors. Any other is a bug, for which the stack trace helps.
    const isTheUsers = [UserError, ToolError, YamlError].some((kind) => error instanceof kind);
    return isTheUsers ? error.message : (error.stack ?? error.message);
}
