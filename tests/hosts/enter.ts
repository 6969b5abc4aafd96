/**
 * `tsx tests/hosts/enter.ts COMMAND...`: runs a command in a lab of its own (`lab.ts`), where it can boot machines. Where this
 * computer cannot, the command is run all the same, so that tests can say that they are skipped, and why.
 */
import { spawnSync } from "node:child_process";
import { whyNoMachines } from "./image";
import { runInLab } from "./lab";

async function main([program, ...args]: readonly string[]): Promise<number> {
    if (!program) throw new Error("which command is to be run in a lab?");
    if (whyNoMachines()) return spawnSync(program, args, { stdio: "inherit" }).status ?? 1;
    return runInLab([program, ...args], (line) => console.error(line));
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
