import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { identify, signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { probe } from "../probe";
import type { ProcessService } from "./description";
import { machineFiles, type ServiceState } from "./record";

/** The first and the longest pause before an ended service restarts, milliseconds. It doubles in between. */
const BACKOFF = { first: 200, longest: 10_000 };
/** A service that ran this long, milliseconds, restarts after the first pause. */
const STABLE = 10_000;
/** Pause between two tries of the readiness probe, milliseconds. */
const PROBE_EVERY = 100;

/** What a service needs of the machine around it. */
export interface Surroundings {
    /** Called when the service's state changes. */
    readonly changed: () => void;
    readonly say: (message: string) => void;
    /** Makes another service reload its configuration. */
    readonly reload: (name: string) => void;
}

/** One service of a machine: started, watched, restarted with backoff, stopped. */
export class SupervisedService {
    state: ServiceState = "waiting";
    restarts = 0;
    lastEnd: string | undefined;
    since = new Date();

    private child: ChildProcess | undefined;
    private timer: NodeJS.Timeout | undefined;
    private backoff = BACKOFF.first;
    /** The work after the process last ended. */
    private aftermath = Promise.resolve();

    constructor(
        readonly definition: ProcessService,
        /** Fingerprint of the definition and its files; see `serviceDigests`. */
        public digest: string,
        /** The same without the files that it can reload. */
        readonly restartDigest: string,
        private readonly directory: string,
        private readonly machine: Surroundings,
    ) {}

    get name(): string {
        return this.definition.name;
    }

    get pid(): number | undefined {
        return this.child?.pid;
    }

    /** Whether services that wait for this one may start. */
    get settled(): boolean {
        return this.state === "ready" || this.state === "succeeded";
    }

    /** Starts the process. Call it once the services that it waits for are ready. */
    start(): void {
        const startedAt = Date.now();
        const child = this.spawn(this.definition.argv);
        this.child = child;
        this.become("starting");
        child.once("error", (error) => this.ended(child, error.message, startedAt));
        child.once("exit", (code, by) => this.ended(child, by ?? `exit code ${code}`, startedAt, code === 0));
        void this.watchReadiness(child);
    }

    /** Makes the process reload its configuration. One that is not ready yet has only just read it. */
    reload(): void {
        if (this.state === "ready" && this.pid !== undefined) signal(this.pid, "SIGHUP");
    }

    /**
     * Makes the process take over its changed files. One that does not run reads them when it starts.
     *
     * @param digest the new fingerprint.
     * @throws Error when the process goes on with the old files.
     */
    async takeOver(digest: string): Promise<void> {
        const { reload } = this.definition;
        const running = this.pid !== undefined && (this.state === "ready" || this.state === "starting");
        if (reload && running) {
            this.say(`${this.name} reloads: its files have changed`);
            const failure = await this.runToEnd(reload.command, "to reload", { MAINPID: String(this.pid) });
            if (failure) throw new Error(`${this.name} goes on with its old files: the reload ended with ${failure}`);
        }
        this.digest = digest;
    }

    /** Runs the commands before the stop, then SIGTERM, then SIGKILL after the service's time, then the commands after it. */
    async stop(): Promise<void> {
        clearTimeout(this.timer);
        const child = this.child;
        if (!child?.pid) {
            this.become("stopped");
            await this.aftermath;
            return;
        }
        this.become("stopping");
        await this.runAll(this.definition.beforeStop, "before the stop");
        const running = child.pid === undefined ? undefined : identify(child.pid);
        if (running && this.child === child) {
            child.kill("SIGTERM");
            const gone = () => this.child !== child;
            await waitFor(`${this.name} to stop`, gone, this.definition.stopTimeoutSeconds * 1000).catch(async () => {
                this.say(`${this.name} did not stop in ${this.definition.stopTimeoutSeconds} s: killed`);
                child.kill("SIGKILL");
                await waitFor(`${this.name} to be killed`, gone, 5_000);
            });
        }
        await this.aftermath;
        this.become("stopped");
    }

    private async runAll(commands: readonly (readonly string[])[], when: string): Promise<void> {
        for (const command of commands) await this.runToEnd(command, when);
    }

    /** @returns how the command failed; undefined when it succeeded. */
    private async runToEnd(
        command: readonly string[],
        when: string,
        environment: Readonly<Record<string, string>> = {},
    ): Promise<string | undefined> {
        const limit = this.definition.stopTimeoutSeconds * 1000;
        return new Promise<string | undefined>((done) => {
            const child = this.spawn(command, environment);
            const timer = setTimeout(() => child.pid && signal(child.pid, "SIGKILL"), limit);
            const finish = (how: string | undefined) => {
                clearTimeout(timer);
                if (how) this.say(`${this.name}: "${command.join(" ")}" ${when}: ${how}`);
                done(how);
            };
            child.once("error", (error) => finish(error.message));
            child.once("exit", (code, by) => finish(code === 0 ? undefined : (by ?? `exit code ${code}`)));
        });
    }

    private spawn(argv: readonly string[], environment: Readonly<Record<string, string>> = {}): ChildProcess {
        mkdirSync(join(this.directory, machineFiles.log), { recursive: true, mode: 0o700 });
        const log = openSync(join(this.directory, machineFiles.log, `${this.name}.log`), "a", 0o600);
        try {
            // The kernel kills the service if the supervisor dies: a machine dies as a whole.
            return spawn("setpriv", ["--pdeathsig", "KILL", "--", ...argv], {
                cwd: this.directory,
                stdio: ["ignore", log, log],
                env: {
                    PATH: `${join(this.directory, "bin")}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
                    HOME: join(this.directory, "lib"),
                    TMPDIR: join(this.directory, "tmp"),
                    LANG: "C.UTF-8",
                    ...this.definition.environment,
                    ...environment,
                },
            });
        } finally {
            closeSync(log);
        }
    }

    private async watchReadiness(child: ChildProcess): Promise<void> {
        const { ready, type } = this.definition;
        if (type === "oneshot") return;
        while (this.child === child && this.state === "starting") {
            if (!ready || (await probe(ready, this.directory))) {
                if (this.child !== child || this.state !== "starting") return;
                this.become("ready");
                if (this.restarts > 0) for (const name of this.definition.reloads ?? []) this.machine.reload(name);
                return;
            }
            await new Promise((next) => setTimeout(next, PROBE_EVERY));
        }
    }

    private ended(child: ChildProcess, how: string, startedAt: number, success = false): void {
        if (this.child !== child) return;
        this.child = undefined;
        this.lastEnd = how;
        if (success && this.definition.type === "oneshot" && this.state !== "stopping") {
            this.become("succeeded");
            return;
        }
        this.aftermath = this.runAll(this.definition.afterStop ?? [], "after the stop");
        if (this.state === "stopping") {
            this.machine.changed();
            return;
        }
        if (Date.now() - startedAt >= STABLE) this.backoff = BACKOFF.first;
        const pause = this.backoff;
        this.backoff = Math.min(this.backoff * 2, BACKOFF.longest);
        this.say(`${this.name} ended (${how}); started again in ${pause} ms`);
        this.become("backoff");
        void this.aftermath.then(() => {
            // It may have been stopped meanwhile.
            if (this.state !== "backoff") return;
            this.timer = setTimeout(() => {
                this.restarts += 1;
                this.start();
            }, pause);
        });
    }

    private say(message: string): void {
        this.machine.say(message);
    }

    private become(state: ServiceState): void {
        this.state = state;
        this.since = new Date();
        this.machine.changed();
    }
}
