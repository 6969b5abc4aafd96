/** Commands of this computer that the tool runs. */
import { lastLines, type RunOptions, run } from "../../toolchain/processes";

/** Deadline of commands that normally take no time, milliseconds. */
const TIMEOUT = 30_000;

/** Options of a command that have defaults. */
export type CommandOptions = Partial<RunOptions>;

/**
 * Runs a command without a shell, and waits for its end. The command ends if this process ends.
 *
 * @param name its name in messages; default: all its words.
 * @returns its standard output, without white space at its end.
 * @throws Error with the last lines of its output if it fails, cannot start, or takes longer than `timeoutMs` (default:
 *         30 s).
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
