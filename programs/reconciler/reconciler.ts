/**
 * The reconciler: keeps HAProxy's slots in line with the backend list, and continues from the last good list while
 * there is none.
 */
import { existsSync, type FSWatcher, mkdirSync, readFileSync, rmSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { HaproxyRuntime } from "../../clients/haproxyRuntime";
import { writeAtomically } from "../../lib/files";
import { apply } from "./applyChanges";
import { type Backend, backendKey, choose, parseBackends } from "./backends";
import { emptyMemory, type Memory, readMemory, writeMemory } from "./lastBackends";
import { plan } from "./planChanges";
import type { ReconcilerSettings } from "./settings";
import { parseSlots, type Slot, serves } from "./slots";
import type { ReconcilerStatus } from "./status";

/** Gets a line for the log. */
export type Log = (level: "info" | "alarm", message: string) => void;

/** Pause until the next look, milliseconds: at rest, and while something is awaited or fails. */
const PAUSE = { rest: 500, busy: 100 };
/** After a restart of HAProxy, milliseconds during which the backends' health before the restart still counts. */
const TRUST = 10_000;

/** The state of HAProxy that matters here. */
interface View {
    readonly pid: number;
    readonly slots: readonly Slot[];
}

/**
 * Compares the backend list with HAProxy's slots and changes what differs, whenever the list or HAProxy's socket is
 * replaced, and at least every half second. Each look starts from what HAProxy says, so restarts and interruptions do
 * not matter.
 */
export class Reconciler {
    private readonly runtime: HaproxyRuntime;
    private memory: Memory = emptyMemory;
    private alarms = new Map<string, string>();
    private written: { status?: string; memory?: string } = {};
    /** The backends that served at the last look. */
    private healthy: { pid: number; at: number; keys: ReadonlySet<string> } | undefined;
    private haproxy: number | undefined;
    private wake: () => void = () => {};
    private woken = false;

    constructor(
        private readonly settings: ReconcilerSettings,
        private readonly log: Log,
    ) {
        this.runtime = new HaproxyRuntime(settings.socket);
    }

    /** Runs until the signal is aborted. Never throws because of what it finds: that becomes an alarm. */
    async run(signal: AbortSignal): Promise<void> {
        this.start();
        const watchers = this.watchFiles();
        signal.addEventListener("abort", () => this.wakeUp());
        while (!signal.aborted) {
            this.woken = false;
            const busy = await this.look();
            await this.pause(busy ? PAUSE.busy : PAUSE.rest, signal);
        }
        for (const watcher of watchers) watcher.close();
    }

    private start(): void {
        // This file says that this run has looked once.
        rmSync(this.settings.status, { force: true });
        try {
            this.memory = readMemory(this.settings.memory);
            this.written.memory = JSON.stringify(this.memory);
        } catch (error) {
            this.log("alarm", `${this.settings.memory} is damaged and not used: ${(error as Error).message}`);
        }
        const { backends } = this.memory;
        if (backends.length > 0) this.log("info", `the last good list has ${describe(backends)}`);
    }

    /** One look and its consequences. @returns whether the next one should be soon. */
    private async look(): Promise<boolean> {
        this.readList();
        let busy = true;
        try {
            const view = await this.view();
            this.clear("haproxy");
            busy = await this.reconcile(view);
        } catch (error) {
            this.haproxy = undefined;
            this.alarm("haproxy", (error as Error).message);
        }
        this.writeStatus();
        return busy;
    }

    /** Adopts the list if it is valid. */
    private readList(): void {
        const { list, networks } = this.settings;
        let found: readonly Backend[] | undefined;
        try {
            // A missing list is not an error before the first one is rendered.
            const read = existsSync(list) ? parseBackends(readFileSync(list, "utf8"), networks) : undefined;
            this.clear("list");
            found = read?.backends;
            if (read && read.refused.length > 0) {
                this.alarm("entries", `${list}: entries are not used: ${read.refused.slice(0, 5).join("; ")}`);
            } else this.clear("entries");
        } catch (error) {
            this.alarm("list", `${list} is refused, the last good list stays: ${(error as Error).message}`);
        }
        const { backends, refused } = choose(found, this.memory.backends);
        if (refused) {
            const count = this.memory.backends.length;
            this.alarm("empty", `${list} is empty and refused, the last good list stays: ${count} backends`);
        } else if (found) this.clear("empty");
        if (JSON.stringify(backends) !== JSON.stringify(this.memory.backends)) {
            this.log("info", `the list has ${describe(backends)}`);
            this.remember({ ...this.memory, backends });
        }
    }

    private async view(): Promise<View> {
        const { backend } = this.settings;
        const [info, state, statistics] = await Promise.all([
            this.runtime.ask("show info"),
            this.runtime.ask(`show servers state ${backend}`),
            this.runtime.ask(`show stat ${backend} 4 -1`),
        ]);
        return { pid: Number(/^Pid: (\d+)$/m.exec(info)?.[1]), slots: parseSlots(state, statistics) };
    }

    private async reconcile(view: View): Promise<boolean> {
        const now = Date.now();
        if (view.pid !== this.haproxy) this.log("info", `HAProxy runs as process ${view.pid}`);
        this.haproxy = view.pid;
        // After a restart of HAProxy no check has passed yet. What it knew before is still true.
        const { healthy } = this;
        const trusted = healthy && healthy.pid !== view.pid && now - healthy.at < TRUST ? healthy.keys : undefined;
        this.healthy = { pid: view.pid, at: now, keys: new Set(view.slots.filter(serves).map((slot) => slot.key)) };
        const next = plan(view.slots, this.memory.backends, this.memory, now, this.settings, trusted);
        // Before the changes: a restarted reconciler must know when a slot began to drain.
        this.remember({ ...next.memory, backends: this.memory.backends });
        if (next.unplaced.length > 0) {
            this.alarm("full", `no free slot among ${view.slots.length} for ${describe(next.unplaced)}`);
        } else this.clear("full");
        if (next.contradicted.length > 0) {
            this.alarm(
                "contradicted",
                `the list has lost most of the gateways, but HAProxy finds them well and keeps them: ${next.contradicted.join(", ")}`,
            );
        } else this.clear("contradicted");

        let failed = false;
        for (const action of next.actions) {
            try {
                await apply(action, this.runtime, this.settings.backend);
                this.clear(`slot ${action.slot}`);
                const key = view.slots.find((slot) => slot.name === action.slot)?.key;
                if (action.kind === "admit") this.log("info", `admit ${describe([action.backend])} to ${action.slot}`);
                else if (action.kind !== "limit") this.log("info", `${action.kind} ${key} in ${action.slot}`);
            } catch (error) {
                failed = true;
                this.alarm(`slot ${action.slot}`, (error as Error).message);
            }
        }
        // Look once more at what changed, for the status files.
        return failed || next.pending || next.actions.length > 0;
    }

    private remember(memory: Memory): void {
        this.memory = memory;
        const text = JSON.stringify(memory);
        if (text === this.written.memory) return;
        this.tryWriting("memory", text, () => writeMemory(this.settings.memory, memory));
    }

    private writeStatus(): void {
        const { backends, slots, draining } = this.memory;
        const alarms = [...this.alarms.values()];
        const status: ReconcilerStatus = {
            pid: process.pid,
            haproxy: this.haproxy,
            backends,
            slots,
            serving: this.haproxy === undefined ? [] : [...(this.healthy?.keys ?? [])],
            draining: Object.keys(draining),
            alarms,
        };
        const text = `${JSON.stringify(status, undefined, 2)}\n`;
        if (text === this.written.status) return;
        this.tryWriting("status", text, () => writeAtomically(this.settings.status, text, 0o644, false));
    }

    /** A full disk must not prevent HAProxy from getting its backends. */
    private tryWriting(what: "memory" | "status", text: string, write: () => void): void {
        try {
            write();
            this.written[what] = text;
            this.clear(what);
        } catch (error) {
            this.alarm(what, `cannot write ${this.settings[what]}: ${(error as Error).message}`);
        }
    }

    private alarm(key: string, message: string): void {
        if (this.alarms.get(key) === message) return;
        this.alarms.set(key, message);
        this.log("alarm", message);
    }

    private clear(key: string): void {
        const message = this.alarms.get(key);
        if (this.alarms.delete(key)) this.log("info", `over: ${message}`);
    }

    /**
     * Wakes up when the list or HAProxy's socket is replaced. This only speeds things up: the pauses work without it.
     */
    private watchFiles(): FSWatcher[] {
        const { list, socket } = this.settings;
        const names = new Set([basename(list), basename(socket)]);
        return [...new Set([dirname(list), dirname(socket)])].flatMap((directory) => {
            const failed = (error: Error) =>
                this.log("info", `cannot watch ${directory}, looks every ${PAUSE.rest} ms instead: ${error.message}`);
            try {
                mkdirSync(directory, { recursive: true });
                const watcher = watch(directory, (_, name) => name !== null && names.has(name) && this.wakeUp());
                return [watcher.on("error", failed)];
            } catch (error) {
                // An editor may have used up the kernel's inotify instances.
                failed(error as Error);
                return [];
            }
        });
    }

    private wakeUp(): void {
        this.woken = true;
        this.wake();
    }

    private pause(milliseconds: number, signal: AbortSignal): Promise<void> {
        if (this.woken || signal.aborted) return Promise.resolve();
        return new Promise((done) => {
            const timer = setTimeout(done, milliseconds);
            this.wake = () => {
                clearTimeout(timer);
                done();
            };
        });
    }
}

function describe(backends: readonly Backend[]): string {
    return backends.length === 0
        ? "no backends"
        : backends.map((each) => `${each.id} (${backendKey(each)})`).join(", ");
}
