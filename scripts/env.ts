/** `eval "$(npm run --silent env -- STACK)"`: the environment for running `pulumi` by hand on this checkout's state. */
import { runCommand } from "./console";
import { engineEnvironment, openStack } from "./engine";
import { ensureTools } from "./tools";

void runCommand(async (signal) => {
    const stackName = process.argv[2] ?? "local";
    // Standard output is for the shell.
    await ensureTools(["pulumi"], { progress: (line) => console.error(line), signal });
    const environment = engineEnvironment(stackName);
    // The CLI would ask whether to make the stack, and write its salt into the committed file.
    await openStack(stackName);
    for (const [name, value] of Object.entries(environment)) {
        console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`);
    }
}, "");
