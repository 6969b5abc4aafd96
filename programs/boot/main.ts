/**
 * The program that turns an instance into one of the deployment's machines. systemd runs it at each boot.
 *
 * ```
 * node boot.cjs run MACHINE.json            set up the machine and start its services
 * node boot.cjs ready MACHINE.json SECONDS  wait until all services are ready, and report it where the cloud asks for
 * it
 * node boot.cjs wait SECONDS http URL STATUS | tcp HOST PORT | file PATH
 * node boot.cjs bake FOLDER                 install the binaries of `npm run artifacts` in an image
 * ```
 */
import { readFileSync } from "node:fs";
import type { CloudMachine } from "./description";
import { thisMachine } from "./system";

async function main([command, ...args]: readonly string[]): Promise<void> {
    const system = thisMachine();
    const machine = (path = "") => JSON.parse(readFileSync(path, "utf8")) as CloudMachine;
    // Each part is loaded when it is needed, so that waiting for a probe starts quickly.
    switch (command) {
        case "run":
            return (await import("./applyMachine.js")).applyMachine(system, machine(args[0]));
        case "ready":
            await (await import("./readiness.js")).becomeReady(system, machine(args[0]), Number(args[1]));
            return system.say("all services are ready");
        case "wait": {
            const { parseProbe, waitForProbe } = await import("./services.js");
            return waitForProbe(Number(args[0]), parseProbe(args.slice(1)));
        }
        case "bake":
            return (await import("./bakeImage.js")).bake(system, args[0] ?? "");
        default:
            throw new Error(`there is no command "${command}"`);
    }
}

main(process.argv.slice(2)).catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
});
