/** The real engine, as an operator's computer runs it. */
import { fork } from "node:child_process";
import { join } from "node:path";
import type { Changes } from "../../../scripts/deploy";
import type { EngineNews, EngineTask } from "./engineRun";

/** The result of a run of the engine. */
export interface EngineResult {
    readonly changes: Changes;
    readonly outputs: Readonly<Record<string, unknown>>;
}

/**
 * Runs the engine.
 *
 * @param say receives its messages.
 * @throws Error with its failure.
 */
export function runEngine(
    task: EngineTask,
    environment: NodeJS.ProcessEnv,
    say: (line: string) => void,
): Promise<EngineResult> {
    const child = fork(join(__dirname, "engineRun.ts"), {
        execArgv: ["--import", "tsx"],
        env: { ...process.env, ...environment },
        stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    return new Promise((done, fail) => {
        child.on("message", (news: EngineNews) => {
            if ("line" in news) say(news.line);
            else if ("failure" in news) fail(new Error(news.failure));
            else done(news);
        });
        child.once("error", fail);
        child.once("exit", (code) => fail(new Error(`the engine's process ended with ${code}`)));
        child.send(task);
    });
}
