/** Commands of this computer, as the tool runs them. */
import { lastLines, type RunOptions, run } from "../../scripts/tools/processes";

/** Longest time of a command that should take no time at all, milliseconds. */
const TIMEOUT = 30_000;

/** Options of a command that have a default here. */
export type CommandOptions = Partial<RunOptions>;

/**
 * Runs a command without a shell, to its end; it dies with this process.
 *
 * @param name what it is called in messages; by default all its words.
 * @returns its standard output, without white space at its end.
 * @throws Error with its last words when it fails, cannot be run, or takes longer than `timeoutMs` (default: 30 s).
 */
export async function command(
    argv: readonly string[],
    options: CommandOptions = {},
    name: string = argv.join(" "),
): Promise<string> {
    const { code, stdout, output } = await run(argv, { timeoutMs: TIMEOUT, ...options });
    if (code !== 0) throw new Error(`${name}: ${lastLines(output, 3) || `exit code ${code}`}`);
    return stdout.trimEnd();
}
