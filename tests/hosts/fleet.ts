/**
 * A fleet runs a machine for each instance that a cloud's API says should run. The API may be an emulator, or a control
 * plane without hypervisors: it believes that it has machines, and the machines are real.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Host, type HostArgs } from "./host";
import type { Lab } from "./lab";

/** An instance as a cloud's API shows it. */
export interface Instance extends Omit<HostArgs, "lab"> {
    /** The cloud's id of it, which is never used again. */
    readonly id: string;
}

/** The fleet's view of a cloud, and what it reports back. */
export interface Cloud {
    /** All instances that should run now. If it throws, nothing changes until the next look. */
    instances(): Promise<readonly Instance[]>;
    /** The instance's cloud-init has ended. */
    onBooted?(instance: Instance, host: Host): Promise<void> | void;
    /** The instance did not start, or its cloud-init failed. The fleet does not try again. */
    onFailed?(instance: Instance, reason: Error): Promise<void> | void;
    /** The instance's machine was destroyed, because it should not run. */
    onGone?(instance: Instance): Promise<void> | void;
}

/** Settings of a fleet. */
export interface FleetOptions {
    /** Milliseconds between two looks at the API; default 500. */
    readonly every?: number;
    /** The number of machines that may boot at the same time; default 3. */
    readonly atOnce?: number;
    /** Milliseconds that a machine has to shut down when it should not run any more. Default 0: it loses its power. */
    readonly gracePeriod?: number;
    /** Milliseconds that a boot may take; default two minutes. */
    readonly bootTimeout?: number;
    /** Receives messages about what the fleet does. Default: nobody. */
    readonly say?: (line: string) => void;
}

/** An instance, and the state of its machine. */
interface Member {
    readonly instance: Instance;
    host: Host | undefined;
    state: "waiting" | "booting" | "booted" | "failed" | "going";
    /** Why it failed. */
    reason?: Error;
}

/** Machines for a cloud. */
export class Fleet {
    private readonly members = new Map<string, Member>();
    private readonly stopping = new AbortController();
    private looking: Promise<void> | undefined;
    private readonly tasks = new Set<Promise<void>>();
    private trouble: string | undefined;

    constructor(
        private readonly lab: Lab,
        private readonly cloud: Cloud,
        private readonly options: FleetOptions = {},
    ) {}

    /** The machine of an instance, once it has started; undefined if there is none. */
    hostOf(id: string): Host | undefined {
        return this.members.get(id)?.host;
    }

    /** The machines that have booted, by their instances' ids. */
    get booted(): ReadonlyMap<string, Host> {
        const booted = [...this.members].filter(([, { state, host }]) => state === "booted" && host);
        return new Map(booted.map(([id, { host }]) => [id, host as Host]));
    }

    /** The instances whose machines did not start, and why. */
    get failed(): ReadonlyMap<string, Error> {
        const failed = [...this.members].filter(([, { reason }]) => reason);
        return new Map(failed.map(([id, { reason }]) => [id, reason as Error]));
    }

    /** Starts to watch the API. Returns at once. */
    start(): void {
        this.looking ??= this.loop();
    }

    private async loop(): Promise<void> {
        const { signal } = this.stopping;
        while (!signal.aborted) {
            await this.look();
            // The signal ended it.
            await delay(this.options.every ?? 500, undefined, { signal }).catch(() => undefined);
        }
    }

    private async look(): Promise<void> {
        try {
            const instances = await this.cloud.instances();
            this.trouble = undefined;
            if (!this.stopping.signal.aborted) this.adjust(instances);
        } catch (error) {
            const { message } = error as Error;
            if (message !== this.trouble) this.say(`the API does not answer: ${message}`);
            this.trouble = message;
        }
    }

    /** Starts and ends machines as the API says. What takes time continues afterwards. */
    private adjust(instances: readonly Instance[]): void {
        const wanted = new Map(instances.map((instance) => [instance.id, instance]));
        for (const member of this.members.values()) {
            // A machine that is being created is destroyed at a later look.
            const isBeingMade = member.state === "booting" && !member.host;
            if (!wanted.has(member.instance.id) && !isBeingMade && member.state !== "going")
                this.track(this.end(member));
        }
        for (const instance of wanted.values()) {
            if (!this.members.has(instance.id))
                this.members.set(instance.id, { instance, host: undefined, state: "waiting" });
        }
        for (const member of this.members.values()) {
            if (member.state === "waiting" && this.mayBoot(member)) this.track(this.boot(member));
        }
    }

    /**
     * Limits the number of boots at a time. A machine with the address of another, such as a replacement, waits until
     * that one is gone.
     */
    private mayBoot({ instance }: Member): boolean {
        const others = [...this.members.values()].filter((other) => other.instance.id !== instance.id);
        const booting = others.filter(({ state }) => state === "booting").length;
        const isTaken = others.some(({ host }) => host?.address === instance.address || host?.name === instance.name);
        return booting < (this.options.atOnce ?? 3) && !isTaken;
    }

    private async boot(member: Member): Promise<void> {
        const { instance } = member;
        member.state = "booting";
        this.say(`${instance.id}: booting ${instance.name} at ${instance.address}`);
        const startedAt = Date.now();
        try {
            member.host = await Host.boot({ lab: this.lab, ...instance });
            await member.host.booted(this.options.bootTimeout);
            if (member.state !== "booting") return;
            member.state = "booted";
            this.say(`${instance.id}: booted in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
        } catch (error) {
            // It was destroyed meanwhile, because it should not run any more.
            if (member.state !== "booting") return;
            member.state = "failed";
            member.reason = error as Error;
            this.say(`${instance.id}: failed: ${member.reason.message}`);
        }
        await this.tell(() =>
            member.reason
                ? this.cloud.onFailed?.(instance, member.reason)
                : this.cloud.onBooted?.(instance, member.host as Host),
        );
    }

    private async end(member: Member): Promise<void> {
        const { instance, host } = member;
        member.state = "going";
        if (host) {
            this.say(`${instance.id}: should not run any more`);
            const { gracePeriod = 0 } = this.options;
            // A machine that does not shut down in time, or cannot be asked to, loses its power.
            if (gracePeriod > 0) await host.shutdown(gracePeriod).catch(() => undefined);
            await host.destroy();
            this.say(`${instance.id}: gone`);
        }
        this.members.delete(instance.id);
        await this.tell(() => this.cloud.onGone?.(instance));
    }

    /** A failure of the cloud's callback must not affect the fleet. */
    private async tell(call: () => Promise<void> | void): Promise<void> {
        try {
            await call();
        } catch (error) {
            this.say((error as Error).message);
        }
    }

    private track(task: Promise<void>): void {
        const tracked = task
            .catch((error: Error) => this.say(error.message))
            .finally(() => {
                this.tasks.delete(tracked);
            });
        this.tasks.add(tracked);
    }

    private say(line: string): void {
        this.options.say?.(line);
    }

    /** Stops watching, waits for operations in progress, and destroys all machines. */
    async stop(): Promise<void> {
        this.stopping.abort();
        await this.looking;
        while (this.tasks.size > 0) await Promise.all(this.tasks);
        await Promise.all([...this.members.values()].map(({ host }) => host?.destroy()));
        this.members.clear();
    }
}
