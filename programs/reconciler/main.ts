/**
 * The reconciler's command line.
 *
 * ```
 * node reconciler.cjs --config FILE                   runs until SIGTERM or SIGINT
 * node reconciler.cjs --config FILE --stop-balancer   takes the balancer out of service, then ends
 * MAINPID=N node reconciler.cjs --config FILE --reload-balancer   makes HAProxy's master N take over its configuration
 * ```
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Reconciler } from "./reconciler";
import { reloadBalancer } from "./reloadBalancer";
import type { ReconcilerSettings } from "./settings";
import { stopBalancer } from "./stopBalancer";

async function main(): Promise<void> {
    const { values } = parseArgs({
        options: {
            config: { type: "string" },
            "stop-balancer": { type: "boolean" },
            "reload-balancer": { type: "boolean" },
        },
    });
    if (!values.config) throw new Error("--config FILE is missing");
    const settings = JSON.parse(readFileSync(values.config, "utf8")) as ReconcilerSettings;
    if (values["stop-balancer"]) {
        if (!(await stopBalancer(settings))) console.log(`connections are left after ${settings.stopTimeout} ms`);
        return;
    }
    if (values["reload-balancer"]) return reloadBalancer(settings, Number(process.env.MAINPID));
    const end = new AbortController();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => end.abort());
    const log = (level: string, message: string) => console.log(`${new Date().toISOString()} ${level} ${message}`);
    await new Reconciler(settings, log).run(end.signal);
}

main().catch((error: Error) => {
    console.error(`reconciler: ${error.message}`);
    process.exitCode = 1;
});
