/**
 * `tsx tests/hosts/enter.ts COMMAND...` runs a command in a new lab (`lab.ts`), where it can boot machines. If this
 * computer cannot make a lab, the command runs outside of one, so that tests can say why they are skipped.
 */
import { spawnSync } from "node:child_process";
import { whyNoMachines } from "./image";
import { runInLab } from "./lab";

async function main([program, ...args]: readonly string[]): Promise<number> {
    if (!program) throw new Error("usage: tsx tests/hosts/enter.ts COMMAND...");
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
