/** `eval "$(npm run --silent env -- STACK)"`: the environment for running `pulumi` by hand on this checkout's state. */
import { runCommand } from "./console";
import { engineEnvironment } from "./engine";

void runCommand(async () => {
    const environment = engineEnvironment(process.argv[2] ?? "local");
    for (const [name, value] of Object.entries(environment)) {
        console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`);
    }
}, "");
