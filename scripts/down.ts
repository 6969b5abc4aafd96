/** `npm run down`: stops and removes everything that was deployed on this computer. */
import { existsSync, rmSync } from "node:fs";
import { gatewayHome } from "../components/local/home";
import { stopMachine } from "../supervisor/machine";
import { machineNames } from "../supervisor/record";
import { runCommand, say } from "./console";
import { describeChanges, destroy, open } from "./deploy";
import { exclusively } from "./preflight";
import { toolPath } from "./tools";

const STACK = "local";

async function down(signal: AbortSignal): Promise<void> {
    const home = gatewayHome();
    if (!existsSync(home.root)) {
        say("nothing is deployed");
        return;
    }
    await exclusively(async () => {
        // The loop first, or it would heal what is being removed.
        await stopMachine(home, "replacer");
        if (toolPath("pulumi") && existsSync(home.stackConfig(STACK))) await destroyStack(signal);
        // What the engine knows nothing of: its state was lost, or a run was killed.
        for (const name of machineNames(home.machines).reverse()) {
            await stopMachine(home, name);
            say(`${name}: stopped`);
        }
    });
    rmSync(home.root, { recursive: true, force: true });
    say("everything is removed; the tools stay in their cache");
}

async function destroyStack(signal: AbortSignal): Promise<void> {
    try {
        say(describeChanges(await destroy(await open(STACK, { say: () => undefined }), { say, signal })));
    } catch (error) {
        signal.throwIfAborted();
        // Going down must not depend on the engine: the machines are stopped by their own records.
        say(`the engine cannot remove the stack (${(error as Error).message.split("\n")[0]}); stopping its machines`);
    }
}

void runCommand(down, 'Run "npm run down" again to go on.');
