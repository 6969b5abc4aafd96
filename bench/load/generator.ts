/** The load generator in a process of its own, so that nothing else that this process does makes calls late. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { LoadOptions, Report } from ".";

/** Load that can be told to another process. */
export type RemoteLoadOptions = Omit<LoadOptions, "onFailure" | "ticker">;
/** The same as a closed loop; see `startClosedLoop`. */
export type RemoteLoopOptions = Omit<RemoteLoadOptions, "ratePerSecond"> & { readonly concurrency: number };

/** What the process is told. */
export type Order =
    | { readonly kind: "open"; readonly id: number; readonly options: RemoteLoadOptions }
    | { readonly kind: "closed"; readonly id: number; readonly options: RemoteLoopOptions }
    | { readonly kind: "stop"; readonly id: number };

/** What the process tells. */
export type Answer =
    | { readonly kind: "started"; readonly id: number }
    | { readonly kind: "refused"; readonly id: number; readonly message: string }
    | { readonly kind: "report"; readonly id: number; readonly report: Report; readonly cpu: NodeJS.CpuUsage };

/** Load in the other process. */
export interface RemoteLoad {
    /** Ends it and reports; idempotent. @throws Error when the process has ended. */
    stop(): Promise<Report>;
}

/**
 * A process that generates load. Close it when it is no longer needed; it ends with this process in any case. Should it die,
 * its loads are lost, and the next one is made by a new process.
 */
export class Generator {
    private child: ChildProcess;
    private readonly waiting = new Map<number, { done: (answer: Answer) => void; fail: (error: Error) => void }>();
    private last = 0;

    constructor() {
        this.child = this.spawn();
    }

    private spawn(): ChildProcess {
        const child = fork(join(__dirname, "process.ts"), [], {
            execArgv: ["--require", require.resolve("tsx/cjs")],
            stdio: ["ignore", "inherit", "inherit", "ipc"],
        });
        child.on("message", (answer: Answer) => {
            this.waiting.get(answer.id)?.done(answer);
            this.waiting.delete(answer.id);
        });
        child.on("exit", (code, signal) => {
            for (const { fail } of this.waiting.values()) fail(new Error(`the generator ended: ${signal ?? code}`));
            this.waiting.clear();
        });
        return child;
    }

    /** Its process, for accounts of CPU time. */
    get pid(): number {
        return this.child.pid as number;
    }

    /** Starts an open-loop load. @throws Error when the options are wrong. */
    start(options: RemoteLoadOptions): Promise<RemoteLoad> {
        return this.begin((id) => ({ kind: "open", id, options }));
    }

    /** Starts a closed loop. @throws Error when the options are wrong. */
    saturate(options: RemoteLoopOptions): Promise<RemoteLoad> {
        return this.begin((id) => ({ kind: "closed", id, options }));
    }

    /** Ends the process. */
    async close(): Promise<void> {
        if (this.child.exitCode !== null || this.child.signalCode !== null) return;
        const ended = new Promise((resolve) => this.child.once("exit", resolve));
        this.child.disconnect();
        await ended;
    }

    private async begin(order: (id: number) => Order): Promise<RemoteLoad> {
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

    private tell(order: Order): Promise<Answer> {
        return new Promise((done, fail) => {
            if (!this.child.connected) return fail(new Error("the generator has ended"));
            this.waiting.set(order.id, { done, fail });
            this.child.send(order);
        });
    }
}
