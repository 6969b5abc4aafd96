/**
 * `npm run status`: shows what the replacement loop of the local deployment sees and does, and every machine with its services;
 * `-- COMMAND` runs its other commands.
 *
 * Exit codes: 0 when everything is healthy and the loop runs; 1 after a mistake in the command, or a failure; 2 when something is not
 * healthy, or the loop does not run.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../engine/stack";
import { gatewayHome } from "../lib/home";
import { readYaml } from "../lib/yaml";
import { main } from "../loop";
import { UNHEALTHY } from "../programs/replacer/main";
import { machineDirectory } from "../programs/supervisor/machine";
import { processLayout } from "../roles/render/process";
import { replacerSettingsPath } from "../roles/replacer";
import { runCommand } from "./console";
import { type MachineHealth, machinesHealth, renderMachines } from "./machines";

void runCommand(async () => {
    const home = gatewayHome();
    const given = process.argv.slice(2);
    const [command = "status", ...options] = given[0]?.startsWith("-") ? ["status", ...given] : given;
    const isStatus = command === "status" && !options.some((option) => ["--help", "-h"].includes(option));
    // With these options it is the status of another deployment.
    const isHere = !options.some((option) => /^--(config|consul)(=|$)/.test(option));
    if (!isHere) return main([...process.argv.slice(0, 2), command, ...options]);

    const machines = machinesHealth(home);
    const directory = machineDirectory(home, "replacer");
    const settings = replacerSettingsPath(processLayout("replacer", ""));
    const hasLoop = existsSync(join(directory, settings));
    if (!hasLoop && (!isStatus || machines.length === 0)) {
        throw new UserError('No replacement loop is deployed here. Run "npm start" first.');
    }
    const ailments = [
        ...machines.flatMap(({ name, ailments }) => ailments.map((ailment) => `${name}: ${ailment}`)),
        ...(hasLoop || isSwitchedOff(home.stackConfig("local")) ? [] : ["the replacement loop is not deployed"]),
    ];
    if (isStatus && !options.includes("--json")) sayMachines(machines, ailments);
    if (hasLoop) {
        // Paths in the settings are relative to the machine's folder.
        process.chdir(directory);
        process.env.GATEWAY_REPLACEMENT = settings;
        await main([...process.argv.slice(0, 2), command, ...options]);
    }
    if (isStatus && ailments.length > 0) process.exitCode ||= UNHEALTHY;
}, "");

/** What is wrong, on top, and then every machine. */
function sayMachines(machines: readonly MachineHealth[], ailments: readonly string[]): void {
    for (const ailment of ailments) console.log(`NOT HEALTHY  ${ailment}`);
    if (ailments.length > 0) console.log();
    console.log(renderMachines(machines));
}

/** Whether the deployed configuration wants no loop. */
function isSwitchedOff(stackConfig: string): boolean {
    return (
        existsSync(stackConfig) && readYaml(stackConfig).getIn(["config", "gateway:replacement", "enabled"]) === false
    );
}
