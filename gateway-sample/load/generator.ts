/** The load generator in a process of its own, so that other work of this process does not delay calls. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { LoadOptions, Report } from ".";

/** Options of a load that can be sent to another process. */
export type RemoteLoadOptions = Omit<LoadOptions, "onFailure" | "ticker">;
/** The same for a closed loop; see `startClosedLoop`. */
export type RemoteLoopOptions = Omit<RemoteLoadOptions, "ratePerSecond"> & { readonly concurrency: number };

/** A message to the process. */
export type GeneratorOrder =
    | { readonly kind: "open"; readonly id: number; readonly options: RemoteLoadOptions }
    | { readonly kind: "closed"; readonly id: number; readonly options: RemoteLoopOptions }
    | { readonly kind: "stop"; readonly id: number };

/** A message from the process. */
export type GeneratorAnswer =
    | { readonly kind: "started"; readonly id: number }
    | { readonly kind: "refused"; readonly id: number; readonly message: string }
    | { readonly kind: "report"; readonly id: number; readonly report: Report; readonly cpu: NodeJS.CpuUsage };

/** Load in the other process. */
export interface RemoteLoad {
    /** Stops the load and reports. Idempotent. @throws Error when the process has ended. */
    stop(): Promise<Report>;
}

/**
 * A process that generates load. Close it when it is no longer needed; it ends with this process in any case. If it dies,
 * its loads are lost, and the next load starts a new process.
 */
export class LoadGenerator {
    private child: ChildProcess;
    private readonly waiting = new Map<
        number,
        { done: (answer: GeneratorAnswer) => void; fail: (error: Error) => void }
    >();
    private last = 0;

    constructor() {
        this.child = this.spawn();
    }

    private spawn(): ChildProcess {
        const child = fork(join(__dirname, "generatorProcess.ts"), [], {
            execArgv: ["--require", require.resolve("tsx/cjs")],
            stdio: ["ignore", "inherit", "inherit", "ipc"],
        });
        child.on("message", (answer: GeneratorAnswer) => {
            this.waiting.get(answer.id)?.done(answer);
            this.waiting.delete(answer.id);
        });
        child.on("exit", (code, signal) => {
            for (const { fail } of this.waiting.values()) fail(new Error(`the generator ended: ${signal ?? code}`));
            this.waiting.clear();
        });
        return child;
    }

    /** Process id, to measure CPU time. */
    get pid(): number {
        return this.child.pid as number;
    }

    /** Starts an open loop. @throws Error when the options are invalid. */
    start(options: RemoteLoadOptions): Promise<RemoteLoad> {
        return this.begin((id) => ({ kind: "open", id, options }));
    }

    /** Starts a closed loop. @throws Error when the options are invalid. */
    startClosedLoop(options: RemoteLoopOptions): Promise<RemoteLoad> {
        return this.begin((id) => ({ kind: "closed", id, options }));
    }

    /** Ends the process. */
    async close(): Promise<void> {
        if (this.child.exitCode !== null || this.child.signalCode !== null) return;
        const ended = new Promise((resolve) => this.child.once("exit", resolve));
        this.child.disconnect();
        await ended;
    }

    private async begin(order: (id: number) => GeneratorOrder): Promise<RemoteLoad> {
        this.last += 1;
        const id = this.last;
        if (!this.child.connected) this.child = this.spawn();
        const answer = await this.tell(order(id));
        if (answer.kind === "refused") throw new Error(answer.message);
        let report: Promise<Report> | undefined;
        const stop = async () => {
            const last = await this.tell({ kind: "stop", id });
            if (last.kind !== "report") throw new Error(`the generator answered "${last.kind}"`);
            return last.report;
        };
        return {
            stop: () => {
                report ??= stop();
                return report;
            },
        };
    }

    private tell(order: GeneratorOrder): Promise<GeneratorAnswer> {
        return new Promise((done, fail) => {
            if (!this.child.connected) return fail(new Error("the generator has ended"));
            this.waiting.set(order.id, { done, fail });
            this.child.send(order);
        });
    }
}
