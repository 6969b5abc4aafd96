/**
 * The processes of the engine's runs: the CLI, its plugins and their children. Each inherits a mark in its environment,
 * so they can be found even after the daemon that started them has died.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { identify, isAlive } from "../lib/processes";

/** The mark's environment variable. Its value is `SCOPE@DAEMON`. */
export const engineMark = "GATEWAY_ENGINE_RUN";

/**
 * The scope of a mark: all runs on one stack by the daemons of one machine, which share a session file. Another
 * deployment on the same computer has another scope, even if its stack has the same name.
 */
export function engineScope(stack: string, sessionFile: string): string {
    return `${stack}-${createHash("sha256").update(sessionFile).digest("hex").slice(0, 16)}`;
}

/** This process, as the second half of a mark, for runs that are no daemon's. */
export function thisRun(): string {
    return `${process.pid}.${identify(process.pid)?.startTime}`;
}

/** Whether the process of a mark that {@link thisRun} made runs. False for the mark of a loop's daemon. */
export function isRunning(run: string): boolean {
    const [pid, startTime = ""] = run.split(".");
    return isAlive({ pid: Number(pid), startTime });
}

/** A process of an engine's run. */
export interface EngineProcess {
    readonly pid: number;
    /** Who started the run: the second half of the mark. */
    readonly daemon: string;
}

/** A mark's value. */
export function engineMarkOf(scope: string, daemon: string): string {
    return `${scope}@${daemon}`;
}

/** The processes of a scope that this user can see. */
export function engineProcesses(scope: string, proc = "/proc"): EngineProcess[] {
    const prefix = `${engineMark}=${scope}@`;
    return marked(proc, (environment) => environment.find((variable) => variable.startsWith(prefix))).map(
        ({ pid, found }) => ({ pid, daemon: found.slice(prefix.length) }),
    );
}

/** The processes of all engine's runs in a home folder, whatever their stack is, that this user can see. */
export function engineProcessesIn(root: string, proc = "/proc"): EngineProcess[] {
    return marked(proc, (environment) =>
        environment.includes(`GATEWAY_HOME=${root}`)
            ? environment.find((variable) => variable.startsWith(`${engineMark}=`))
            : undefined,
    ).map(({ pid, found }) => ({ pid, daemon: found.slice(found.lastIndexOf("@") + 1) }));
}

/** The processes in whose environment `find` finds something. */
function marked(
    proc: string,
    find: (environment: readonly string[]) => string | undefined,
): { readonly pid: number; readonly found: string }[] {
    return readdirSync(proc)
        .filter((entry) => /^\d+$/.test(entry))
        .flatMap((entry) => {
            try {
                const found = find(readFileSync(`${proc}/${entry}/environ`, "utf8").split("\0"));
                return found === undefined ? [] : [{ pid: Number(entry), found }];
            } catch {
                // It has ended, is a kernel thread, or belongs to another user.
                return [];
            }
        });
}

/** How long killed processes may take to end, in milliseconds. */
const DEADLINE = 5_000;

/**
 * Kills the chosen processes, and those that they start meanwhile, until none is left.
 *
 * @throws Error when some do not end, for instance because they wait for a disk.
 */
export function killEngine(scope: string, chosen: (found: EngineProcess) => boolean): Promise<void> {
    return killAll(() => engineProcesses(scope).filter(chosen));
}

/** {@link killEngine} for all runs in a home folder. */
export function killEngineIn(root: string, chosen: (found: EngineProcess) => boolean): Promise<void> {
    return killAll(() => engineProcessesIn(root).filter(chosen));
}

async function killAll(find: () => readonly EngineProcess[]): Promise<void> {
    const deadline = Date.now() + DEADLINE;
    for (;;) {
        const left = find();
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
