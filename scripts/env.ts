/** `eval "$(npm run --silent env -- STACK)"`: the environment to run `pulumi` by hand on this checkout's state. */

import { engineEnvironment, openStack } from "../engine/stack";
import { ensureTools, versions } from "../toolchain";
import { findOnPath } from "../toolchain/processes";
import { runCommand } from "./console";

/** Variables that would take precedence over those that this prints. */
const OVERRIDING = ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"] as const;

void runCommand(async (signal) => {
    const stackName = process.argv[2] ?? "local";
    // Standard output is for the shell.
    await ensureTools(["pulumi"], { progress: (line) => console.error(line), signal });
    const given = OVERRIDING.filter((name) => process.env[name] !== undefined);
    // The shell has the passphrase's value already, and this must not print it.
    const { PULUMI_CONFIG_PASSPHRASE: value, ...environment } = engineEnvironment(stackName);
    // Without the stack, the CLI would offer to create it, and write its salt into the committed file.
    await openStack(stackName);
    if (!findOnPath("pulumi-language-nodejs", { PATH: environment.PATH })) {
        console.error(
            `note: this Pulumi was built here, and has no language host for Node.js: "pulumi up" and "pulumi preview" fail. Put ` +
                `pulumi-language-nodejs ${versions.pulumi} of Pulumi's official release on the PATH, or use "npm run up" and "npm run preview"`,
        );
    }
    for (const name of given) {
        const isUsed = name in environment || (name === "PULUMI_CONFIG_PASSPHRASE" && value !== undefined);
        if (!isUsed) console.log(`unset ${name}`);
    }
    for (const [name, value] of Object.entries(environment)) {
        console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`);
    }
}, "");
