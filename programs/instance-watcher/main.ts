/**
 * Polls EC2's metadata service for notices about the instance. If the instance is to go, stops its gateway, which
 * drains it, and then completes the lifecycle hook that held the instance. Also checks whether the disk accepts writes.
 * Run as `node instance-watcher.cjs SETTINGS`; safe to restart at any time.
 */
import { execFile } from "node:child_process";
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { MetadataService } from "../../clients/instanceMetadata";
import type { LifecycleHook, WatcherSettings } from "./settings";

/** Rounds in a row after which the disk counts as unwritable, or as writable again. */
const ROUNDS = 3;
/** Less free space than this counts as none, bytes: space reserved for root is of no use to the services. */
const LEAST_FREE = 1024 * 1024;

/** EC2's notices about the instance; all undefined when nothing is planned. */
export interface Notices {
    /** The spot interruption notice, JSON with `action` and `time`. */
    readonly spot: string | undefined;
    /** The rebalance recommendation, JSON with `noticeTime`. */
    readonly rebalance: string | undefined;
    /** The state that the AutoScaling group wants for the instance. */
    readonly lifecycle: string | undefined;
}

/** What to do about notices. */
export interface Verdict {
    /** Why the instance is drained; undefined: it stays. */
    readonly reason?: string;
    /** Whether a lifecycle hook holds the instance. */
    readonly held: boolean;
}

/** What to do. Pure. */
export function judge(notices: Notices, settings: Pick<WatcherSettings, "onRebalance">): Verdict {
    const held = notices.lifecycle === "Terminated";
    if (held) return { reason: "its AutoScaling group terminates it", held };
    if (notices.spot !== undefined) return { reason: `spot interruption: ${oneLine(notices.spot)}`, held };
    if (notices.rebalance !== undefined && settings.onRebalance === "drain") {
        return { reason: `rebalance recommendation: ${oneLine(notices.rebalance)}`, held };
    }
    return { held };
}

/** The watcher's effects on the machine and on AWS. Tests replace them. */
export interface Effects {
    readonly systemctl: (verb: "stop" | "start", unit: string) => Promise<void>;
    /** Completes the hook. */
    readonly complete: (hook: LifecycleHook, instance: string) => Promise<void>;
    /** Throws if the folder does not accept writes. */
    readonly tryDisk: (folder: string) => void;
    readonly say: (line: string) => void;
}

/** The watcher's memory from one round to the next. */
export class Watcher {
    private drained = false;
    private completed = false;
    private readonly told = new Set<string>();
    private readonly disk = { usable: true, contrary: 0 };

    constructor(
        private readonly settings: WatcherSettings,
        private readonly metadata: Pick<MetadataService, "read">,
        private readonly effects: Effects,
    ) {}

    /** One round: looks, and acts. Never throws: what failed is retried in the next round. */
    async round(): Promise<void> {
        await this.attempt("disk", () => this.watchDisk());
        await this.attempt("notices", () => this.watchNotices());
    }

    private async watchNotices(): Promise<void> {
        const notices = {
            spot: await this.metadata.read("spot/instance-action"),
            rebalance: await this.metadata.read("events/recommendations/rebalance"),
            lifecycle: (await this.metadata.read("autoscaling/target-lifecycle-state"))?.trim(),
        };
        if (notices.rebalance !== undefined) this.tellOnce(`EC2 recommends a rebalance: ${oneLine(notices.rebalance)}`);
        const { reason, held } = judge(notices, this.settings);
        if (reason === undefined) return;
        if (!this.drained) {
            this.effects.say(`draining: ${reason}`);
            for (const unit of this.settings.drain) await this.effects.systemctl("stop", unit);
            this.drained = true;
            this.effects.say("drained");
        }
        const { hook } = this.settings;
        if (!held || !hook || this.completed) return;
        const instance = await this.metadata.read("instance-id");
        if (instance === undefined) throw new Error("the metadata service does not know the instance's id");
        await this.effects.complete(hook, instance.trim());
        this.completed = true;
        this.effects.say(`the hook ${hook.name} may go on`);
    }

    private async watchDisk(): Promise<void> {
        const { folder, stop } = this.settings.disk;
        let problem: Error | undefined;
        try {
            this.effects.tryDisk(folder);
        } catch (error) {
            problem = error as Error;
        }
        if (this.disk.usable === (problem === undefined)) {
            this.disk.contrary = 0;
            return;
        }
        this.disk.contrary += 1;
        if (this.disk.contrary < ROUNDS) return;
        const verb = problem ? "stop" : "start";
        this.effects.say(
            problem ? `${folder} cannot be written (${problem.message}): unhealthy` : `${folder} can be written again`,
        );
        for (const unit of stop) await this.effects.systemctl(verb, unit);
        this.disk.usable = problem === undefined;
        this.disk.contrary = 0;
    }

    private async attempt(what: string, act: () => Promise<void>): Promise<void> {
        try {
            await act();
            this.told.delete(what);
        } catch (error) {
            // Once, not in every round.
            if (!this.told.has(what)) this.effects.say(`${what}: ${(error as Error).message}; tried again`);
            this.told.add(what);
        }
    }

    private tellOnce(line: string): void {
        if (!this.told.has(line)) this.effects.say(line);
        this.told.add(line);
    }
}

/** Tries to write to a folder. @throws Error if it is full, read-only or broken. */
export function tryDisk(folder: string): void {
    const path = join(folder, ".writable");
    try {
        const handle = openSync(path, "w", 0o600);
        try {
            writeSync(handle, Buffer.alloc(4096));
            fsyncSync(handle);
        } finally {
            closeSync(handle);
        }
    } finally {
        rmSync(path, { force: true });
    }
    const { bavail, bsize } = statfsSync(folder);
    if (bavail * bsize < LEAST_FREE) throw new Error(`${bavail * bsize} bytes are free`);
}

/** Completes a lifecycle hook of an AutoScaling group. A hook that does not hold the instance is not an error. */
export async function completeLifecycleAction(hook: LifecycleHook, instance: string): Promise<void> {
    // Loaded on demand: once in an instance's life.
    const { AutoScalingClient, CompleteLifecycleActionCommand } = await import("@aws-sdk/client-auto-scaling");
    const client = new AutoScalingClient({
        region: hook.region,
        ...(hook.endpoint ? { endpoint: hook.endpoint } : {}),
    });
    try {
        await client.send(
            new CompleteLifecycleActionCommand({
                AutoScalingGroupName: hook.group,
                LifecycleHookName: hook.name,
                InstanceId: instance,
                LifecycleActionResult: "CONTINUE",
            }),
        );
    } catch (error) {
        if (!/No active Lifecycle Action/i.test((error as Error).message)) throw error;
    } finally {
        client.destroy();
    }
}

function oneLine(text: string): string {
    return text.replace(/\s+/g, " ").trim();
}

async function main(settings: WatcherSettings): Promise<void> {
    const run = promisify(execFile);
    const watcher = new Watcher(settings, new MetadataService(settings.metadata), {
        systemctl: async (verb, unit) => {
            await run("systemctl", [verb, unit]);
        },
        complete: completeLifecycleAction,
        tryDisk,
        say: (line) => console.log(line),
    });
    for (;;) {
        await watcher.round();
        await delay(settings.interval);
    }
}

if (require.main === module) {
    main(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as WatcherSettings).catch((error: Error) => {
        console.error(error.message);
        process.exitCode = 1;
    });
}
