/** `npm run tools [-- NAMES]`: installs the tools and prints their paths; `-- --list` installs nothing. */

import { Command } from "commander";
import { ensureTools, ToolError, type ToolName } from "../toolchain";
import { lookUp } from "../toolchain/cache";
import { tools } from "../toolchain/manifest";

/** The tools' names in the order of the manifest. */
const known = Object.keys(tools) as ToolName[];

/** Prints each tool with its version, path and origin, or that it is not installed. */
function list(names: readonly ToolName[]): void {
    for (const name of names) {
        const found = lookUp(tools[name]);
        const what = found ? `${found.entry.version}  ${found.executable}  (${found.entry.from})` : "not installed";
        console.log(`${name.padEnd(16)} ${what}`);
    }
}

async function main(): Promise<void> {
    const command = new Command("tools")
        .description("Installs the programs that a deployment runs, and prints their paths.")
        .argument("[names...]", `one or more of: ${known.join(", ")} (default: all)`)
        .option("-l, --list", "list what is installed, and install nothing")
        .parse();
    const names = command.args.length > 0 ? (command.args as ToolName[]) : known;
    const unknown = names.filter((name) => !known.includes(name));
    if (unknown.length > 0) throw new ToolError(`No such tool: ${unknown.join(", ")}. There are: ${known.join(", ")}.`);
    if (command.opts<{ list?: true }>().list) return list(names);

    const stop = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        process.once(signal, () => stop.abort(new ToolError("Stopped. Finished tools are kept.")));
    await ensureTools(names, { progress: (line) => console.error(line), signal: stop.signal });
    list(names);
}

main().catch((error: unknown) => {
    console.error(error instanceof ToolError ? error.message : error);
    process.exitCode = 1;
});
