/** Waiting for a deployment to become healthy. */
import { setTimeout as delay } from "node:timers/promises";
import { type Deployment, deploymentProblems, hasFullShares } from "./localDeployment";

/** The longest that a recovery may take, milliseconds. */
const RECOVERY_MS = 60_000;
/**
 * How long a deployment must stay healthy to count as recovered, milliseconds. Fabio's check, the slowest, needs 1.7 s
 * to notice a fault.
 */
const STEADY_MS = 2_000;
/** Interval between two checks, milliseconds. */
const LOOK_MS = 100;

/**
 * Waits until the deployment is healthy, then until every gateway gets its full share of calls.
 *
 * @throws Error with the problems when the deployment is not healthy in time.
 */
export async function waitUntilSettled(deployment: Deployment, signal: AbortSignal): Promise<void> {
    await waitUntilServing(deployment, signal);
    const deadline = performance.now() + RECOVERY_MS;
    while (!(await hasFullShares(deployment).catch(() => false)) && performance.now() < deadline) {
        await delay(LOOK_MS, undefined, { signal });
    }
}

/**
 * Waits until the deployment is healthy.
 *
 * @throws Error with the problems when it is not healthy in time.
 */
export async function waitUntilServing(deployment: Deployment, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + RECOVERY_MS;
    for (;;) {
        const problems = await deploymentProblems(deployment);
        if (problems.length === 0) return;
        if (performance.now() > deadline) throw new Error(`the deployment is not healthy: ${problems.join("; ")}`);
        await delay(LOOK_MS, undefined, { signal });
    }
}

/**
 * Waits until the deployment is healthy and stays so. `recoveredAt` is when that began, in milliseconds since the
 * epoch.
 */
export async function waitUntilRecovered(
    deployment: Deployment,
    isBack: () => boolean,
    signal: AbortSignal,
    from = Date.now(),
): Promise<{ recoveredAt: number | undefined; problems: readonly string[] }> {
    let recoveredAt: number | undefined;
    for (;;) {
        const problems = isBack() ? await deploymentProblems(deployment) : ["the victim is not back"];
        const now = Date.now();
        recoveredAt = problems.length > 0 ? undefined : (recoveredAt ?? now);
        if (recoveredAt !== undefined && now - recoveredAt >= STEADY_MS) return { recoveredAt, problems };
        if (now - from > RECOVERY_MS && problems.length > 0) return { recoveredAt: undefined, problems };
        await delay(LOOK_MS, undefined, { signal });
    }
}
