/**
 * One run of the engine in a separate process, so that it does not delay the tests' load. A message tells it what to
 * do.
 */
import { type Changes, deploy, destroy, type EngineRunOptions, open, preview } from "../../../scripts/deploy";

/** The request. */
export interface EngineTask {
    readonly action: keyof typeof actions;
    readonly stack: string;
    /** Keys with other values than in the stack's file. */
    readonly overrides: Readonly<Record<string, unknown>>;
    /** Values of `gateway:secrets`, by name. Default none. */
    readonly secrets?: Readonly<Record<string, string>>;
}

/** Messages during the run, and at its end. */
export type EngineNews =
    | { readonly line: string }
    | { readonly changes: Changes; readonly outputs: Readonly<Record<string, unknown>> }
    | { readonly failure: string };

const actions = { deploy, destroy, preview };

process.once("message", async ({ action, stack, overrides, secrets = {} }: EngineTask) => {
    const tell = (news: EngineNews) => new Promise<void>((done) => process.send?.(news, () => done()));
    const options: EngineRunOptions = {
        say: (line) => void tell({ line }),
        signal: new AbortController().signal,
        overrides,
    };
    try {
        const opened = await open(stack, options);
        const marked = Object.entries(secrets).map(([name, value]) => [
            `gateway:secrets.${name}`,
            { value, secret: true },
        ]);
        await opened.stack.setAllConfig(Object.fromEntries(marked), true);
        const changes = await actions[action](opened, options);
        const outputs = action === "destroy" ? {} : await opened.stack.outputs();
        const plain = Object.entries(outputs).map(([name, { value }]) => [name, value]);
        await tell({ changes, outputs: Object.fromEntries(plain) });
    } catch (error) {
        await tell({ failure: (error as Error).message });
    }
    process.disconnect();
});
