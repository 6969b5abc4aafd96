/** Which servers the deployment wants, according to its state. */
import type { Clock } from "../clock";
import type { Engine, Pool } from "../engine";

/** The wanted servers. They are kept for a while, because asking the engine takes a process of its own. */
export interface Deployment {
    /** @param maxAgeSeconds how old the answer may be; 0 asks anew. @throws Error when the engine fails. */
    pool(maxAgeSeconds: number): Promise<Pool>;
}

/** The deadline of the engine's answer, in seconds: it starts a process and reads the whole state. */
const TIMEOUT = 30;

/** A deployment by way of its engine. */
export function engineDeployment(engine: Pick<Engine, "pool">, clock: Pick<Clock, "now">): Deployment {
    let kept: { readonly pool: Pool; readonly at: number } | undefined;
    return {
        async pool(maxAgeSeconds) {
            if (!kept || clock.now() - kept.at >= maxAgeSeconds) {
                kept = { pool: await withDeadline(engine.pool(), TIMEOUT), at: clock.now() };
            }
            return kept.pool;
        },
    };
}

async function withDeadline<T>(promise: Promise<T>, seconds: number): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer from the engine in ${seconds} s`)), seconds * 1000);
    });
    try {
        return await Promise.race([promise, late]);
    } finally {
        clearTimeout(timer);
    }
}
