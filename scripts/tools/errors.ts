/** Errors of the tool set-up. Their messages are for the user, without a stack trace. */

/** No way to get one or more tools worked. The message says which, what was tried, why each failed, and what to do. */
export class ToolError extends Error {
    override readonly name = "ToolError";
}

/** One source of a tool cannot deliver; the next one is tried. The message says why, as the end of a sentence. */
export class SourceError extends Error {
    override readonly name = "SourceError";
}

/** A text for what was thrown: its message, and the plain reason where the disk is full. */
export function reasonOf(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    if (code === "ENOSPC" || code === "EDQUOT" || /no space left on device|disk quota exceeded/i.test(message))
        return `the disk is full (${message.split("\n")[0]})`;
    return message;
}
