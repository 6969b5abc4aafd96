/** `npm run status`: what the replacement loop of the local deployment sees and does; `-- COMMAND` for its other commands. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { gatewayHome } from "../components/local/home";
import { main } from "../replacement/main";
import { processLayout } from "../roles/render/process";
import { replacerSettingsPath } from "../roles/replacer";
import { machineDirectory } from "../supervisor/machine";
import { runCommand } from "./console";
import { UserError } from "./engine";

void runCommand(async () => {
    const directory = machineDirectory(gatewayHome(), "replacer");
    const settings = replacerSettingsPath(processLayout("replacer", ""));
    if (!existsSync(join(directory, settings))) {
        throw new UserError('No replacement loop is deployed here: run "npm start" first.');
    }
    // The settings' paths count from the machine's own folder.
    process.chdir(directory);
    process.env.GATEWAY_REPLACEMENT = settings;
    const given = process.argv.slice(2);
    await main([...process.argv.slice(0, 2), ...(given.length > 0 ? given : ["status"])]);
}, "");
