/** `npm run e2e:openstack`: gets what the tests of target openstack need, and runs them in a lab of their own (`tests/hosts/lab.ts`). */
import { spawnSync } from "node:child_process";
import { withLock } from "../../../scripts/tools/lock";
import { runInLab } from "../../hosts/lab";
import { defaultSettings } from "./controlPlane/settings";
import { requirements } from "./support/requirements";

const MOCHA = ["npx", "--no-install", "mocha", "--timeout", "600000", "tests/e2e/openstack/*.test.ts"];

async function main(options: readonly string[]): Promise<number> {
    const say = (line: string) => console.error(line);
    await requirements.prepare(say);
    const mocha = [...MOCHA, ...options];
    // Where they cannot run, they say so themselves, and count as skipped.
    if ((await requirements.missing()).length > 0) {
        return spawnSync(mocha[0] as string, mocha.slice(1), { stdio: "inherit" }).status ?? 1;
    }
    // The control plane's files are there once.
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which runs these tests`);
    return withLock(defaultSettings().directory, "run", { onWait }, () => runInLab(mocha, say));
}

main(process.argv.slice(2)).then(
    (code) => {
        process.exitCode = code;
    },
    (error: Error) => {
        console.error(error.message);
        process.exitCode = 1;
    },
);
