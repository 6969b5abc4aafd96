/** `npm run tools [-- NAMES]`: installs the tools and prints where they are; `-- --list` only looks. */

import { Command } from "commander";
import { lookUp } from "./cache";
import { ensureTools, ToolError, type ToolName } from "./index";
import { tools } from "./manifest";

/** The tools' names in the order of the manifest. */
const known = Object.keys(tools) as ToolName[];

/** Prints each tool with its version, path and origin, or that it is not installed. Starts nothing. */
function list(names: readonly ToolName[]): void {
    for (const name of names) {
        const found = lookUp(tools[name]);
        const what = found ? `${found.entry.version}  ${found.executable}  (${found.entry.from})` : "not installed";
        console.log(`${name.padEnd(16)} ${what}`);
    }
}

async function main(): Promise<void> {
    const command = new Command("tools")
        .description("Installs the programs that a deployment runs, and prints where they are.")
        .argument("[names...]", `which ones, of: ${known.join(", ")} (default: all)`)
        .option("-l, --list", "only say what is installed")
        .parse();
    const names = command.args.length > 0 ? (command.args as ToolName[]) : known;
    const unknown = names.filter((name) => !known.includes(name));
    if (unknown.length > 0) throw new ToolError(`No such tool: ${unknown.join(", ")}. There are: ${known.join(", ")}.`);
    if (command.opts<{ list?: true }>().list) return list(names);

    const stop = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        process.once(signal, () => stop.abort(new ToolError("Stopped; what was finished is kept.")));
    await ensureTools(names, { progress: (line) => console.error(line), signal: stop.signal });
    list(names);
}

main().catch((error: unknown) => {
    console.error(error instanceof ToolError ? error.message : error);
    process.exitCode = 1;
});
