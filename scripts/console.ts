/** How the project's commands speak: steps with times, and one clear message when something is wrong. */

import { UserError } from "./engine";
import { ToolError } from "./tools";

const startedAt = Date.now();

/** Prints a line with the seconds since the command started. */
export function say(line: string): void {
    console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${line}`);
}

/** Prints a heading. */
export function heading(text: string): void {
    console.log(`\n${text}`);
}

/**
 * Runs a command to its end. SIGINT and SIGTERM abort its signal; a second one ends the process at once.
 *
 * @param remedy what to do after an interruption.
 */
export async function runCommand(command: (signal: AbortSignal) => Promise<void>, remedy: string): Promise<void> {
    const stop = new AbortController();
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
        process.on(name, () => {
            if (stop.signal.aborted) process.exit(130);
            console.error(`\nInterrupted; ending what is under way. ${remedy}`);
            stop.abort(new UserError("interrupted"));
        });
    }
    try {
        await command(stop.signal);
    } catch (error) {
        if (stop.signal.aborted) {
            process.exitCode = 130;
            return;
        }
        console.error(`\n${describe(error as NodeJS.ErrnoException)}`);
        process.exitCode = 1;
    }
}

function describe(error: NodeJS.ErrnoException): string {
    if (error.code === "ENOSPC")
        return `The disk is full (${error.path ?? error.message}): free some space and try again.`;
    if (error.code === "EACCES" || error.code === "EPERM") return `No permission: ${error.message}`;
    // What a user can mend is told as it is; anything else is our mistake, and then the stack helps.
    return error instanceof UserError || error instanceof ToolError ? error.message : (error.stack ?? error.message);
}
