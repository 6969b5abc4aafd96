/** Makes HAProxy take over another configuration without losing a connection. */
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { promisify } from "node:util";
import { HaproxyRuntime } from "../../clients/haproxyRuntime";
import { writeAtomically } from "../../lib/files";
import { waitFor } from "../../lib/wait";
import type { ReconcilerSettings } from "./settings";

/** Time that the new worker may take to answer, milliseconds. */
const TAKE_OVER = 5_000;

/**
 * Checks the configuration, and makes HAProxy's master start a worker with it. The new worker inherits the listening sockets,
 * so no connection is refused, and the servers with their health, so it sends calls from its first moment on. The old one
 * keeps its connections until they end, or until `hard-stop-after`.
 *
 * The state file is there only meanwhile: a HAProxy that starts after a crash must not believe an old one.
 *
 * @param master the id of the master's process.
 * @throws Error with HAProxy's message when it refuses the configuration, or when no new worker answers. The old one goes on.
 */
export async function reloadBalancer({ socket, reload }: ReconcilerSettings, master: number): Promise<void> {
    if (!(master > 1)) throw new Error("MAINPID is not the id of HAProxy's process");
    const { program, config, state } = reload;
    await promisify(execFile)(program, ["-c", "-f", config]).catch((error: Error & { stderr?: string }) => {
        throw new Error(`HAProxy refuses ${config}: ${error.stderr?.trim() || error.message}`);
    });
    const runtime = new HaproxyRuntime(socket);
    const worker = async () => /^Pid: (\d+)$/m.exec(await runtime.ask("show info"))?.[1];
    const old = await worker();
    try {
        writeAtomically(state, `${await runtime.ask("show servers state")}\n`, 0o600, false);
        process.kill(master, "SIGUSR2");
        await waitFor(
            "HAProxy's new worker",
            async () => {
                const now = await worker();
                return now !== undefined && now !== old;
            },
            TAKE_OVER,
            10,
        );
    } finally {
        rmSync(state, { force: true });
    }
}
