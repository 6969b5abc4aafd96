/** `npm run preview -- STACK`: what a deployment of the stack would change. */
import { Command } from "commander";
import { runCommand, say } from "./console";
import { describeChanges, isChange, open, preview } from "./deploy";
import { ensureTools } from "./tools";

const [stackName = "local"] = new Command("preview")
    .description("Says what a deployment of the stack would change. Changes nothing.")
    .argument("[stack]", "name of the stack, of Pulumi.STACK.yaml", "local")
    .parse().processedArgs as [string];

void runCommand(async (signal) => {
    await ensureTools(["pulumi"], { progress: say, signal });
    const changes = await preview(await open(stackName, { say }), { say, signal });
    say(isChange(changes) ? `changes: ${describeChanges(changes)}` : `no changes: ${describeChanges(changes)}`);
}, "Nothing was changed.");
