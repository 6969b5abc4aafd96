/** The commands for any stack: `npm run preview|up|destroy -- STACK`. */
import { execFile } from "node:child_process";
import { appendFileSync } from "node:fs";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { Command } from "commander";
import { ensureTools } from "../toolchain";
import { runCommand, say } from "./console";
import {
    type Changes,
    deploy,
    describeChanges,
    destroy,
    type EngineRunOptions,
    isChange,
    type OpenStack,
    open,
    preview,
} from "./deploy";
import { previewMarkdown } from "./previewReport";

/** The actions, with the message after an interruption. */
const ACTIONS = {
    preview: { run: preview, interrupted: "Nothing was changed." },
    up: { run: deploy, interrupted: "Run it again to continue." },
    destroy: { run: destroy, interrupted: "Run it again to continue." },
} as const satisfies Record<
    string,
    { run: (stack: OpenStack, options: EngineRunOptions) => Promise<Changes>; interrupted: string }
>;

/**
 * Parses the command line, runs the action, and prints what changed.
 *
 * @param description describes the command in its help.
 */
export function runOnStack(action: keyof typeof ACTIONS, description: string): void {
    const command = new Command(action)
        .description(description)
        .argument(action === "preview" ? "[stack]" : "<stack>", "name of the stack, as in Pulumi.STACK.yaml");
    command.option("--project <folder>", "folder of another program, such as examples/two-pools");
    if (action === "preview") {
        command.option(
            "--markdown <file>",
            "append a report in Markdown to this file, for a comment on a pull request",
        );
    }
    if (action === "up") {
        command.option("--show-secrets", "print the values of secret outputs; without it they are printed as [secret]");
    }
    command.parse();
    const [stackName = "local"] = command.processedArgs as [string?];
    const { markdown, project, showSecrets } = command.opts<{
        markdown?: string;
        project?: string;
        showSecrets?: true;
    }>();
    const { run, interrupted } = ACTIONS[action];
    void runCommand(async (signal) => {
        const lines: string[] = [];
        const speak = (line: string) => {
            lines.push(line);
            say(line);
        };
        try {
            await ensureTools(["pulumi"], { progress: say, signal });
            const options = { say: speak, signal, ...(project ? { project: resolve(project) } : {}) };
            const stack = await open(stackName, options);
            const changes = await run(stack, options);
            say(isChange(changes) ? `changes: ${describeChanges(changes)}` : `no changes: ${describeChanges(changes)}`);
            if (markdown) appendFileSync(markdown, previewMarkdown(stackName, { changes, lines }));
            if (action === "up") await sayOutputs(stack, showSecrets === true);
        } catch (error) {
            if (markdown)
                appendFileSync(markdown, previewMarkdown(stackName, { failure: (error as Error).message, lines }));
            throw error;
        }
    }, interrupted);
}

/** Longest text of all outputs, bytes. */
const OUTPUTS_LIMIT = 64 * 1024 * 1024;

/**
 * Prints the outputs as the CLI does. The Automation API tells only of a whole output that it is secret, and has the secrets
 * within others in plain.
 */
async function sayOutputs({ stack }: OpenStack, showSecrets: boolean): Promise<void> {
    const { pulumiCommand, workDir, envVars } = stack.workspace;
    const { stdout } = await promisify(execFile)(
        pulumiCommand.command,
        ["stack", "output", "--json", "--stack", stack.name, ...(showSecrets ? ["--show-secrets"] : [])],
        { cwd: workDir, env: { ...process.env, ...envVars }, maxBuffer: OUTPUTS_LIMIT },
    );
    for (const [name, value] of Object.entries(JSON.parse(stdout) as Record<string, unknown>)) {
        console.log(`${name}: ${value === "[secret]" ? value : JSON.stringify(value, undefined, 2)}`);
    }
}
