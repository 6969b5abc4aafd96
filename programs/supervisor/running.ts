/** The machines that run, found by their processes: the folders that would name them may be lost. */
import { basename, dirname } from "node:path";
import { realPath } from "../../lib/files";
import { groupMembers, isAlive, signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { type Supervisor, supervisors } from "./record";

/** A machine whose supervisor runs. */
export interface RunningMachine extends Supervisor {
    readonly name: string;
}

/**
 * The running machines of a home folder, of all its targets. A supervisor's command line names its bundle, which is in the home
 * folder, and its working directory is the machine's folder. Both stay when the folders are removed, and the second one follows
 * when they are moved.
 *
 * @param root the home folder, which need not exist.
 */
export function runningMachines(root: string): RunningMachine[] {
    const roots = [root, realPath(root)];
    // ROOT/bundles/PROGRAM and ROOT/machines/NAME.
    const isBelow = (path: string) => roots.includes(dirname(dirname(path)));
    return supervisors()
        .filter(({ program, directory }) => isBelow(program) || isBelow(directory))
        .map((found) => ({ ...found, name: basename(found.directory) }))
        .sort((a, b) => (a.directory < b.directory ? -1 : 1));
}

/** How long a machine may take to stop before it is killed, milliseconds. One that lost its folder has nothing left to finish. */
const STOP_TIMEOUT = { whole: 40_000, removed: 10_000 };

/** Stops a machine by its supervisor alone: gracefully, and by force what is left after its time. */
export async function stopRunning(machine: RunningMachine): Promise<void> {
    const { pid, name, removed } = machine;
    if (!isAlive(machine)) return;
    signal(pid, "SIGTERM");
    const limit = removed ? STOP_TIMEOUT.removed : STOP_TIMEOUT.whole;
    await waitFor(`${name} to stop`, () => !isAlive(machine), limit).catch(() => {
        // The supervisor leads a process group, and its services are in it.
        signal(-pid, "SIGKILL");
    });
    await waitFor(`the processes of ${name} to end`, () => groupMembers(pid).length === 0, 5_000).catch(() => {
        signal(-pid, "SIGKILL");
    });
}
