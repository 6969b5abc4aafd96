/** Runs an end-to-end suite: gets what it needs, and goes into a lab of its own (`tests/hosts/lab.ts`). */
import { spawnSync } from "node:child_process";
import { runInLab } from "../../hosts/lab";
import type { Requirements } from "./requirements";

/**
 * Runs the suite, with the options of this process for mocha, and leaves its exit code.
 *
 * @param suite its folder's name.
 * @param alone done around the run, for a suite of which only one can run at a time. Default: nothing.
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
        // Where they cannot run, they say so themselves, and count as skipped.
        const isMissing = (await requirements.missing()).length > 0;
        process.exitCode = isMissing
            ? (spawnSync(mocha[0] as string, mocha.slice(1), { stdio: "inherit" }).status ?? 1)
            : await alone(() => runInLab(mocha, say), say);
    } catch (error) {
        say((error as Error).message);
        process.exitCode = 1;
    }
}
