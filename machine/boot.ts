/**
 * The program that turns an instance into one of the deployment's machines. systemd runs it at each boot.
 *
 * ```
 * node boot.cjs run MACHINE.json            make the machine what the file says, and start its services
 * node boot.cjs ready MACHINE.json SECONDS  wait until all of them are ready, and say so where the cloud is to be told
 * node boot.cjs wait SECONDS http URL STATUS | tcp HOST PORT | file PATH
 * node boot.cjs bake FOLDER                 put the binaries of `npm run artifacts` into an image
 * ```
 */
import { readFileSync } from "node:fs";
import type { CloudMachine } from "../roles/render/cloudInit";
import { thisMachine } from "./system";

async function main([command, ...args]: readonly string[]): Promise<void> {
    const system = thisMachine();
    const machine = (path = "") => JSON.parse(readFileSync(path, "utf8")) as CloudMachine;
    // Each part is loaded when it is needed: waiting for a probe is to start quickly.
    switch (command) {
        case "run":
            return (await import("./apply.js")).applyMachine(system, machine(args[0]));
        case "ready":
            await (await import("./gates.js")).becomeReady(system, machine(args[0]), Number(args[1]));
            return system.say("all services are ready");
        case "wait": {
            const { parseProbe, waitForProbe } = await import("./ready.js");
            return waitForProbe(Number(args[0]), parseProbe(args.slice(1)));
        }
        case "bake":
            return (await import("./bake.js")).bake(system, args[0] ?? "");
        default:
            throw new Error(`there is no command "${command}"`);
    }
}

main(process.argv.slice(2)).catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
});
