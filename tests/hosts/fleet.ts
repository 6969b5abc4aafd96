/**
 * A fleet: for each instance that the API of a cloud says should run, a machine that runs. The API may be an emulator, or a control
 * plane without hypervisors: it believes that it has machines, and the machines are real.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Host, type HostArgs } from "./host";
import type { Lab } from "./lab";

/** An instance as a cloud's API tells of it. */
export interface Instance extends Omit<HostArgs, "lab"> {
    /** The cloud's name for it, never used again for another one. */
    readonly id: string;
}

/** What a cloud says, and wants to be told. */
export interface Cloud {
    /** All instances that should run just now. What it throws changes nothing: the next look is as good. */
    instances(): Promise<readonly Instance[]>;
    /** The instance's cloud-init has ended. */
    onBooted?(instance: Instance, host: Host): Promise<void> | void;
    /** The instance could not be started, or its cloud-init failed. It is not tried again. */
    onFailed?(instance: Instance, reason: Error): Promise<void> | void;
    /** The instance's machine is no more, because it should not run. */
    onGone?(instance: Instance): Promise<void> | void;
}

/** How a fleet works. */
export interface FleetOptions {
    /** Milliseconds between two looks at the API; default 500. */
    readonly every?: number;
    /** How many machines boot at the same time; default 3. */
    readonly atOnce?: number;
    /** Milliseconds that a machine may take, when it should not run any more, to end by itself; default 0: its power is taken away. */
    readonly gracePeriod?: number;
    /** Milliseconds that a boot may take; default two minutes. */
    readonly bootTimeout?: number;
    /** Told what the fleet does; by default nobody is. */
    readonly say?: (line: string) => void;
}

/** An instance, and how far its machine is. */
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

    /** The machine of an instance, once it was started; undefined when there is none. */
    hostOf(id: string): Host | undefined {
        return this.members.get(id)?.host;
    }

    /** The machines that have booted, by their instances' ids. */
    get booted(): ReadonlyMap<string, Host> {
        const booted = [...this.members].filter(([, { state, host }]) => state === "booted" && host);
        return new Map(booted.map(([id, { host }]) => [id, host as Host]));
    }

    /** The instances whose machines could not be started, and why. */
    get failed(): ReadonlyMap<string, Error> {
        const failed = [...this.members].filter(([, { reason }]) => reason);
        return new Map(failed.map(([id, { reason }]) => [id, reason as Error]));
    }

    /** Starts to look. Returns at once. */
    start(): void {
        this.looking ??= this.loop();
    }

    private async loop(): Promise<void> {
        const { signal } = this.stopping;
        while (!signal.aborted) {
            await this.look();
            // Ended by the signal.
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
            if (message !== this.trouble) this.say(`the API does not tell: ${message}`);
            this.trouble = message;
        }
    }

    /** Makes the machines what they should be; what takes time goes on after it. */
    private adjust(instances: readonly Instance[]): void {
        const wanted = new Map(instances.map((instance) => [instance.id, instance]));
        for (const member of this.members.values()) {
            // One that is just being made goes at a later look.
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

    /** Not too many at once; and one with the address of another, as a replacement has it, once that one is gone. */
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
            // It should not run any more, and was destroyed.
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
            // One that does not end in time, or cannot be told to, has its power taken away.
            if (gracePeriod > 0) await host.shutdown(gracePeriod).catch(() => undefined);
            await host.destroy();
            this.say(`${instance.id}: gone`);
        }
        this.members.delete(instance.id);
        await this.tell(() => this.cloud.onGone?.(instance));
    }

    /** What a cloud does when it is told must not hurt the fleet. */
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

    /** Ends the looking, waits for what is under way, and destroys all machines. */
    async stop(): Promise<void> {
        this.stopping.abort();
        await this.looking;
        while (this.tasks.size > 0) await Promise.all(this.tasks);
        await Promise.all([...this.members.values()].map(({ host }) => host?.destroy()));
        this.members.clear();
    }
}
