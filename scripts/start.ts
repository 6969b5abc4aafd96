/** `npm start`: installs the tools, deploys the local stack, and shows a gateway die and come back. */

import { balancingStack } from "../engine/stack";
import { ensurePlugin, ensureTools, pluginVersion, toolsOf } from "../toolchain";
import { heading, runCommand, say } from "./console";
import { demonstrate } from "./demo";
import { deploy, describeChanges, isChange, open } from "./deploy";
import { exclusively, preflight } from "./preflight";

const STACK = "local";

async function start(signal: AbortSignal): Promise<void> {
    preflight();
    await exclusively(async () => {
        heading("Tools");
        const tools = toolsOf(balancingStack(STACK));
        await ensureTools(["pulumi", ...tools], { progress: say, signal });
        if (tools.includes("consul")) {
            await ensurePlugin("consul", pluginVersion("consul"), { progress: say, signal });
        }
        say("all installed");

        heading("Deployment");
        const stack = await open(STACK, { say });
        const changes = await deploy(stack, { say, signal });
        say(isChange(changes) ? describeChanges(changes) : `no changes: ${describeChanges(changes)}`);
        signal.throwIfAborted();
        const outputs = (await stack.stack.outputs()).local?.value as Outputs;

        heading("A gateway dies: calls continue, and the loop replaces it");
        await demonstrate(outputs, signal);

        heading("The deployment keeps running");
        console.log(`  Thrift calls     ${outputs.endpoints.join(" and ")}`);
        if (outputs.consulUi) console.log(`  Consul           ${outputs.consulUi}`);
        console.log(`  Balancers        ${outputs.balancerStatus.join(" and ")}`);
        heading("What to try next");
        console.log("  npm run status                show what the replacement loop sees and does");
        console.log("  npm run status -- explain     show its decisions with their reasons");
        console.log(
            "  npm run preview -- local      after an edit of Pulumi.local.yaml: show what npm start would change",
        );
        console.log("  npm run down                  remove everything");
    });
}

/** The stack's outputs for the target `local`. */
export interface Outputs {
    readonly endpoints: readonly string[];
    readonly gateways: readonly string[];
    readonly balancerStatus: readonly string[];
    /** Absent with Serf. */
    readonly consulUi?: string;
}

void runCommand(start, 'Run "npm start" again to continue, or "npm run down" to remove everything.');
