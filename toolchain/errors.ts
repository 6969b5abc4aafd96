/** Errors of the tool set-up. The user sees their messages without a stack trace. */

/** One or more tools could not be installed. The message says which, what was tried, why it failed, and what to do. */
export class ToolError extends Error {
    override readonly name = "ToolError";
}

/** One source of a tool failed, so the next one is tried. The message gives the reason, without a capital or full stop. */
export class SourceError extends Error {
    override readonly name = "SourceError";
}

/** The message of what was thrown, with a plain reason when the disk is full. */
export function reasonOf(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    if (code === "ENOSPC" || code === "EDQUOT" || /no space left on device|disk quota exceeded/i.test(message))
        return `the disk is full (${message.split("\n")[0]})`;
    return message;
}
