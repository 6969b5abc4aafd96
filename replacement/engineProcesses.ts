/**
 * The processes of the engine's runs: the CLI, its plugins, and what they start. Each bears a mark in its environment,
 * which its children inherit, so that they are found even after the daemon that started them has died.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** The environment variable that is the mark: `SCOPE@DAEMON`. */
export const engineMark = "GATEWAY_ENGINE_RUN";

/**
 * Whose runs are each other's: those of one stack by the daemons of one machine, of which each finds the session file of
 * the one before. Another deployment on the same computer, of a stack of the same name, is another scope.
 */
export function engineScope(stack: string, sessionFile: string): string {
    return `${stack}-${createHash("sha256").update(sessionFile).digest("hex").slice(0, 16)}`;
}

/** A process of an engine's run. */
export interface EngineProcess {
    readonly pid: number;
    /** Who started the run: the second half of the mark. */
    readonly daemon: string;
}

/** A mark's value. */
export function markOf(scope: string, daemon: string): string {
    return `${scope}@${daemon}`;
}

/** The processes of a scope, as far as this user may see them. */
export function engineProcesses(scope: string, proc = "/proc"): EngineProcess[] {
    const prefix = `${engineMark}=${scope}@`;
    return readdirSync(proc)
        .filter((entry) => /^\d+$/.test(entry))
        .flatMap((entry) => {
            try {
                const mark = readFileSync(`${proc}/${entry}/environ`, "utf8")
                    .split("\0")
                    .find((variable) => variable.startsWith(prefix));
                return mark === undefined ? [] : [{ pid: Number(entry), daemon: mark.slice(prefix.length) }];
            } catch {
                // Ended meanwhile, a kernel thread, or another user's.
                return [];
            }
        });
}

/** How long the kernel may take to end a process that was killed, in milliseconds. */
const DEADLINE = 5_000;

/**
 * Kills the processes that `chosen` picks, and those that they start meanwhile, until none is left.
 *
 * @throws Error when some do not end, such as those that wait for a disk.
 */
export async function killEngine(scope: string, chosen: (found: EngineProcess) => boolean): Promise<void> {
    const deadline = Date.now() + DEADLINE;
    for (;;) {
        const left = engineProcesses(scope).filter(chosen);
        if (left.length === 0) return;
        if (Date.now() > deadline) {
            throw new Error(`processes of the engine cannot be killed: ${left.map(({ pid }) => pid).join(", ")}`);
        }
        for (const { pid } of left) {
            try {
                process.kill(pid, "SIGKILL");
            } catch (error) {
                if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
            }
        }
        await delay(20);
    }
}
