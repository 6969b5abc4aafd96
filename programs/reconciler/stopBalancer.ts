/** Takes a balancer out of service before it is stopped. */
import { HaproxyRuntime } from "../../clients/haproxyRuntime";
import { identify, isAlive } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import type { ReconcilerSettings } from "./settings";

/**
 * Closes the clients' port, so that they go to the other balancers, and waits until calls in flight have ended, for at
 * most `stopTimeout`. Connections that stay open without a call last until then.
 *
 * It asks HAProxy's worker to end softly. `shutdown frontend` would stop accepting, but leave the port open for the next worker: a
 * client would then wait instead of going elsewhere.
 *
 * @returns whether all connections have ended.
 * @throws RuntimeError if HAProxy does not answer.
 */
export async function stopBalancer({ socket, stopTimeout }: ReconcilerSettings): Promise<boolean> {
    const info = await new HaproxyRuntime(socket).ask("show info");
    const worker = identify(Number(/^Pid: (\d+)$/m.exec(info)?.[1]));
    if (!worker) return true;
    process.kill(worker.pid, "SIGUSR1");
    return waitFor("the connections to end", () => !isAlive(worker), stopTimeout).then(
        () => true,
        () => false,
    );
}
