/** One run of the engine in a process of its own, so that it does not hold up the tests' load; told by a message what to do. */
import { type Changes, deploy, destroy, open, preview, type RunOptions } from "../../../scripts/deploy";

/** What is to be done. */
export interface EngineTask {
    readonly action: keyof typeof actions;
    readonly stack: string;
    /** Keys whose values are other than in the stack's file. */
    readonly overrides: Readonly<Record<string, unknown>>;
    /** Values of `gateway:secrets`, by name. Default none. */
    readonly secrets?: Readonly<Record<string, string>>;
}

/** What is told meanwhile, and at the end. */
export type EngineNews =
    | { readonly line: string }
    | { readonly changes: Changes; readonly outputs: Readonly<Record<string, unknown>> }
    | { readonly failure: string };

const actions = { deploy, destroy, preview };

process.once("message", async ({ action, stack, overrides, secrets = {} }: EngineTask) => {
    const tell = (news: EngineNews) => new Promise<void>((done) => process.send?.(news, () => done()));
    const options: RunOptions = {
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
