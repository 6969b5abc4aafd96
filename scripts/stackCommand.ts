/** The commands that work on any stack: `npm run preview|up|destroy -- STACK`. */
import { appendFileSync } from "node:fs";
import { Command } from "commander";
import { runCommand, say } from "./console";
import {
    type Changes,
    deploy,
    describeChanges,
    destroy,
    isChange,
    type OpenStack,
    open,
    preview,
    type RunOptions,
} from "./deploy";
import { previewMarkdown } from "./previewReport";
import { ensureTools } from "./tools";

/** What can be done with a stack, and what is said when it was interrupted. */
const ACTIONS = {
    preview: { run: preview, interrupted: "Nothing was changed." },
    up: { run: deploy, interrupted: "Run it again to go on." },
    destroy: { run: destroy, interrupted: "Run it again to go on." },
} as const satisfies Record<
    string,
    { run: (stack: OpenStack, options: RunOptions) => Promise<Changes>; interrupted: string }
>;

/**
 * Reads the command line, does what is asked, and says what changed.
 *
 * @param description what the command does, for its help.
 */
export function runOnStack(action: keyof typeof ACTIONS, description: string): void {
    const command = new Command(action)
        .description(description)
        .argument(action === "preview" ? "[stack]" : "<stack>", "name of the stack, of Pulumi.STACK.yaml");
    if (action === "preview") {
        command.option("--markdown <file>", "append a report for people to this file, as for a pull request's comment");
    }
    command.parse();
    const [stackName = "local"] = command.processedArgs as [string?];
    const { markdown } = command.opts<{ markdown?: string }>();
    const { run, interrupted } = ACTIONS[action];
    void runCommand(async (signal) => {
        const lines: string[] = [];
        const speak = (line: string) => {
            lines.push(line);
            say(line);
        };
        try {
            await ensureTools(["pulumi"], { progress: say, signal });
            const stack = await open(stackName, { say: speak });
            const changes = await run(stack, { say: speak, signal });
            say(isChange(changes) ? `changes: ${describeChanges(changes)}` : `no changes: ${describeChanges(changes)}`);
            if (markdown) appendFileSync(markdown, previewMarkdown(stackName, { changes, lines }));
            if (action === "up") await sayOutputs(stack);
        } catch (error) {
            if (markdown)
                appendFileSync(markdown, previewMarkdown(stackName, { failure: (error as Error).message, lines }));
            throw error;
        }
    }, interrupted);
}

async function sayOutputs({ stack }: OpenStack): Promise<void> {
    for (const [name, { value, secret }] of Object.entries(await stack.outputs())) {
        console.log(`${name}: ${secret ? "[secret]" : JSON.stringify(value, undefined, 2)}`);
    }
}
