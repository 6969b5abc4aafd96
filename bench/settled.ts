/** When a deployment is whole. */
import { setTimeout as delay } from "node:timers/promises";
import { type Deployment, hasFullShares, problems } from "./deployment";

/** How long a recovery may take, milliseconds. */
const RECOVERY_MS = 60_000;
/** How long a deployment must look whole to be it, milliseconds: Fabio's check, the slowest, takes 1.7 s to see a fault. */
const STEADY_MS = 2_000;
/** Between two looks, milliseconds. */
const LOOK_MS = 100;

/**
 * Waits until the deployment is whole and every gateway gets its full share of calls.
 *
 * @throws Error with what is amiss when it does not become so in the time that a recovery may take.
 */
export async function untilSettled(deployment: Deployment, signal: AbortSignal): Promise<void> {
    await untilServing(deployment, signal);
    const deadline = performance.now() + RECOVERY_MS;
    while (!(await hasFullShares(deployment).catch(() => false)) && performance.now() < deadline) {
        await delay(LOOK_MS, undefined, { signal });
    }
}

/**
 * Waits until the deployment is whole.
 *
 * @throws Error with what is amiss when it does not become so in the time that a recovery may take.
 */
export async function untilServing(deployment: Deployment, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + RECOVERY_MS;
    for (;;) {
        const amiss = await problems(deployment);
        if (amiss.length === 0) return;
        if (performance.now() > deadline) throw new Error(`the deployment is not whole: ${amiss.join("; ")}`);
        await delay(LOOK_MS, undefined, { signal });
    }
}

/** Waits until the deployment is whole and stays so; `wholeAt` is when that began, in milliseconds since the epoch. */
export async function untilWhole(
    deployment: Deployment,
    isBack: () => boolean,
    signal: AbortSignal,
    from = Date.now(),
): Promise<{ wholeAt: number | undefined; amiss: readonly string[] }> {
    let wholeAt: number | undefined;
    for (;;) {
        const amiss = isBack() ? await problems(deployment) : ["the victim is not back"];
        const now = Date.now();
        wholeAt = amiss.length > 0 ? undefined : (wholeAt ?? now);
        if (wholeAt !== undefined && now - wholeAt >= STEADY_MS) return { wholeAt, amiss };
        if (now - from > RECOVERY_MS && amiss.length > 0) return { wholeAt: undefined, amiss };
        await delay(LOOK_MS, undefined, { signal });
    }
}
