/** `npm start`: gets the tools, deploys the local stack, and shows a gateway die and come back. */

import { heading, runCommand, say } from "./console";
import { demonstrate } from "./demo";
import { deploy, describeChanges, isChange, open } from "./deploy";
import { balancingStack } from "./engine";
import { exclusively, preflight } from "./preflight";
import { ensurePlugin, ensureTools, pluginVersion, toolsOf } from "./tools";

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
        say("all there");

        heading("Deployment");
        const stack = await open(STACK, { say });
        const changes = await deploy(stack, { say, signal });
        say(isChange(changes) ? describeChanges(changes) : `no changes: ${describeChanges(changes)}`);
        signal.throwIfAborted();
        const outputs = (await stack.stack.outputs()).local?.value as Outputs;

        heading("A gateway dies: calls go on, and it is replaced");
        await demonstrate(outputs, signal);

        heading("It runs on");
        console.log(`  Thrift calls     ${outputs.endpoints.join(" and ")}`);
        if (outputs.consulUi) console.log(`  Consul           ${outputs.consulUi}`);
        console.log(`  Balancers        ${outputs.balancerStatus.join(" and ")}`);
        heading("What to try next");
        console.log("  npm run status                what the replacement loop sees and does");
        console.log("  npm run status -- explain     every decision with its reasons");
        console.log("  npm run preview -- local      after a change of Pulumi.local.yaml: what npm start would change");
        console.log("  npm run down                  remove everything");
    });
}

/** What the stack says of its local target. */
export interface Outputs {
    readonly endpoints: readonly string[];
    readonly gateways: readonly string[];
    readonly balancerStatus: readonly string[];
    /** With Serf there is none. */
    readonly consulUi?: string;
}

void runCommand(start, 'Run "npm start" again to go on, or "npm run down" to remove everything.');
