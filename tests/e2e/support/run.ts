/** Runs an end-to-end suite: installs its requirements, and enters a new lab (`tests/hosts/lab.ts`). */
import { spawnSync } from "node:child_process";
import { runInLab } from "../../hosts/lab";
import type { Requirements } from "./requirements";

/**
 * Runs the suite, passes the options of this process to mocha, and sets the exit code.
 *
 * @param suite its folder's name.
 * @param alone wraps the run, for a suite that can run only once at a time. Default: nothing.
 */
export async function runSuite(
    suite: "aws" | "openstack",
    requirements: Requirements,
    alone: (run: () => Promise<number>, say: (line: string) => void) => Promise<number> = (run) => run(),
): Promise<void> {
    const say = (line: string) => console.error(line);
    const mocha = ["npx", "--no-install", "mocha", "--timeout", "600000", `tests/e2e/${suite}/*.test.ts`];
    mocha.push(...process.argv.slice(2));
    try {
        await requirements.prepare(say);
        // If the tests cannot run here, they say so themselves, and count as skipped.
        const isMissing = (await requirements.missing()).length > 0;
        process.exitCode = isMissing
            ? (spawnSync(mocha[0] as string, mocha.slice(1), { stdio: "inherit" }).status ?? 1)
            : await alone(() => runInLab(mocha, say), say);
    } catch (error) {
        say((error as Error).message);
        process.exitCode = 1;
    }
}
