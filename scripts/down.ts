/** `npm run down`: stops and removes everything that was deployed on this computer. */
import { existsSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { engineProcessesIn, isRunning, killEngineIn, thisRun } from "../engine/processes";
import { UserError } from "../engine/stack";
import { gatewayHome } from "../lib/home";
import { stopMachine } from "../programs/supervisor/machine";
import { readLiveRecord } from "../programs/supervisor/record";
import { type RunningMachine, runningMachines, stopRunning } from "../programs/supervisor/running";
import { toolPath } from "../toolchain";
import { runCommand, say } from "./console";
import { describeChanges, destroy, open } from "./deploy";
import { exclusively } from "./preflight";

const STACK = "local";

async function down(signal: AbortSignal): Promise<void> {
    const home = gatewayHome();
    if (!existsSync(home.root) && runningMachines(home.root).length + engineProcessesIn(home.root).length === 0) {
        say(`Nothing is deployed here: there is no ${home.root}, and no process that was started from it.`);
        return;
    }
    await exclusively(async () => {
        refuseBesideAnotherRun(home.root);
        // Stop the loops first, or they would replace what is removed.
        for (const found of runningMachines(home.root)) if (found.name === "replacer") await stop(found);
        if (toolPath("pulumi") && existsSync(home.stackConfig(STACK))) await destroyStack(signal);
        // Machines that the engine does not know, because its state was lost or a run was killed. Their processes show them, whatever
        // has become of their folders.
        for (const found of runningMachines(home.root).reverse()) await stop(found);
        await killEngineIn(home.root, ({ daemon }) => !isRunning(daemon));
    });
    rmSync(home.root, { recursive: true, force: true });
    say("Removed everything. The tools stay in their cache.");
}

async function stop(found: RunningMachine): Promise<void> {
    const { name, directory, pid, removed } = found;
    // The machine's folder says how long its services may take.
    const isWhole = !removed && readLiveRecord(directory)?.pid === pid;
    if (isWhole) await stopMachine({ machines: dirname(directory) }, name);
    else await stopRunning(found);
    say(
        `${name}: stopped${isWhole ? "" : ` (process ${pid}; ${removed ? "its folder" : "its record"} had been removed)`}`,
    );
}

/** The lock of another command may have been removed together with the home folder. */
function refuseBesideAnotherRun(root: string): void {
    const other = engineProcessesIn(root).find(({ daemon }) => daemon !== thisRun() && isRunning(daemon));
    if (!other) return;
    const pid = other.daemon.split(".")[0];
    throw new UserError(`Process ${pid} is deploying from this checkout. Wait for it to end, or end it: kill ${pid}`);
}

async function destroyStack(signal: AbortSignal): Promise<void> {
    try {
        say(describeChanges(await destroy(await open(STACK, { say: () => undefined }), { say, signal })));
    } catch (error) {
        signal.throwIfAborted();
        // This must work without the engine: the machines' own records are enough to stop them.
        say(`The engine cannot remove the stack (${(error as Error).message.split("\n")[0]}); stopping its machines.`);
    }
}

void runCommand(down, 'Run "npm run down" again to continue.');
