/** The pool according to the deployment's state, cached. */
import type { Clock } from "../../lib/clock";
import type { Engine } from "../act/engine";
import type { Pool } from "../core/pool";

/** The pool, cached because each reading starts a process of the engine. */
export interface Deployment {
    /** @param maxAgeSeconds highest age of a cached answer; 0 reads anew. @throws Error when the engine fails. */
    pool(maxAgeSeconds: number): Promise<Pool>;
}

/** Deadline of the engine's answer, in seconds. It starts a process and reads the whole state. */
const TIMEOUT = 30;

/** A deployment that is read by its engine. */
export function engineDeployment(engine: Pick<Engine, "pool">, clock: Pick<Clock, "now">): Deployment {
    let cached: { readonly pool: Pool; readonly at: number } | undefined;
    return {
        async pool(maxAgeSeconds) {
            if (!cached || clock.now() - cached.at >= maxAgeSeconds) {
                cached = { pool: await withDeadline(engine.pool(), TIMEOUT), at: clock.now() };
            }
            return cached.pool;
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
