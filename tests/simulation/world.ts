/**
 * A small world for the replacement loop: a pool of servers, a control plane, Consul, two balancers, a deployment engine
 * and the loop's store, with a clock that only goes on when somebody waits. It keeps a record of what is done to the
 * servers, and says at once when the loop breaks a rule.
 */
import type { Engine, Operation } from "../../replacement/engine";
import type { Memory } from "../../replacement/memory";
import {
    type BalancerState,
    type ConsulState,
    type ControlPlaneView,
    isHealthy,
    isServing,
    type Observation,
    type Pause,
    type SlotObservation,
} from "../../replacement/observation";
import { maxGone, type ReplacementPolicy } from "../../replacement/policy";

/** What can go wrong, for `seconds` from `at` (seconds after the start) on; with `slot` where it concerns one. */
export interface Fault {
    readonly kind: (typeof faultKinds)[number];
    readonly at: number;
    readonly seconds: number;
    readonly slot: number;
}

export const faultKinds = [
    /** The server is gone at once. */
    "die",
    /** It exists and does not serve, from then on until it is replaced. */
    "hang",
    /** It does not serve for a while. */
    "pause",
    /** It serves by turns. */
    "flap",
    /** New servers never serve. */
    "badImage",
    /** New servers boot slowly. */
    "slowBoot",
    /** Consul has no leader. */
    "noLeader",
    /** Consul says that all are critical. */
    "allCritical",
    /** Consul and the balancers are cut off from all servers. */
    "partition",
    /** One balancer does not answer. */
    "balancerSilent",
    /** The control plane does not answer. */
    "controlPlaneError",
    /** It does not answer for one server. */
    "serverUnknown",
    /** It says that a server is gone which is not. */
    "falseGone",
    /** The deployment's state cannot be read. */
    "stateUnreadable",
    /** The loop's store does not answer. */
    "storeError",
    /** Somebody else writes the loop's memory all the time. */
    "storeConflict",
    /** Somebody else holds the stack. */
    "locked",
    /** There is no room for new servers. */
    "quota",
    /** The engine rejects the configuration. */
    "invalid",
    /** The engine fails half-way. */
    "engineFails",
    /** A run would change another server, too. */
    "drift",
    /** The pause switch is pressed. */
    "switch",
    /** An operator replaces the server himself. */
    "operator",
] as const;

/** A server that exists, or existed. */
interface Server {
    readonly id: string;
    readonly slot: number;
    readonly since: number;
    alive: boolean;
    hung: boolean;
    /** When it begins to serve. */
    readonly servesFrom: number;
}

/** A run of the engine that replaces a slot's server, in four steps: delete, create, checkpoint, end. */
interface Run {
    readonly slot: number;
    readonly startedAt: number;
    step: number;
    result: "running" | "done" | "quota" | "invalid" | "failed" | "killed";
    endedAt?: number;
    server?: Server;
}

const STEPS = 4;
const PREVIEW_SECONDS = 2;
const START = 1_000_000;
const HOUR = 3600;
const DAY = 86_400;

export class World {
    /** Seconds since 1970. */
    now = START;
    readonly servers: Server[] = [];
    readonly runs: Run[] = [];
    /** Rules that were broken. */
    readonly broken: string[] = [];
    private readonly names: readonly string[];
    /** Per slot the server that the deployment's state names. */
    private readonly state: string[] = [];
    private readonly begun = new Set<Fault>();
    /** Per slot, when it last was seen at work for so long that the loop cannot have missed it; and for how long it is. */
    private readonly lastServed: number[] = [];
    private readonly servedFor: number[] = [];
    private lastSeen: Observation | undefined;
    private previewedDrift = false;
    /** When the loop was killed last, and when an operator let given-up slots be tried again. */
    crashedAt = 0;
    pardonedAt = 0;
    private count = 0;

    constructor(
        readonly size: number,
        private readonly faults: readonly Fault[],
        private readonly policy: ReplacementPolicy,
        /** The loop's memory in its store. */
        private readonly stored: () => Promise<Memory>,
    ) {
        this.names = Array.from({ length: size }, (_, slot) => `gw-${slot}`);
        for (let slot = 0; slot < size; slot++) {
            this.state[slot] = this.boot(slot).id;
            this.lastServed[slot] = this.now;
        }
    }

    /** Lets time pass. */
    advance(seconds: number): void {
        for (let left = seconds; left > 0; left--) {
            this.now += Math.min(1, left);
            for (const run of this.runs) if (run.result === "running") this.step(run);
            for (const fault of this.faults) if (this.since(fault) && !this.begun.has(fault)) this.strike(fault);
            for (let slot = 0; slot < this.size; slot++) {
                const visible = this.serves(slot) && !this.is("partition");
                const seconds = visible ? (this.servedFor[slot] ?? 0) + 1 : 0;
                this.servedFor[slot] = seconds;
                if (seconds > PREVIEW_SECONDS + this.policy.intervalSeconds) this.lastServed[slot] = this.now;
            }
        }
    }

    private since({ at }: Fault): boolean {
        return this.now >= START + at;
    }

    /** Whether such a fault is there now, for this slot where it concerns one. */
    is(kind: Fault["kind"], slot?: number): boolean {
        return this.faults.some(
            (fault) =>
                fault.kind === kind &&
                this.since(fault) &&
                this.now < START + fault.at + fault.seconds &&
                (slot === undefined || fault.slot % this.size === slot),
        );
    }

    private strike(fault: Fault): void {
        this.begun.add(fault);
        const slot = fault.slot % this.size;
        const server = this.living(slot)[0];
        if (!server) return;
        if (fault.kind === "die") server.alive = false;
        if (fault.kind === "hang") server.hung = true;
        if (fault.kind === "operator" && !this.runs.some((run) => run.result === "running")) {
            server.alive = false;
            this.state[slot] = this.boot(slot).id;
        }
    }

    private boot(slot: number): Server {
        const delay = this.is("badImage") ? Number.POSITIVE_INFINITY : this.is("slowBoot") ? 20 : 2;
        const server = {
            id: `server-${++this.count}`,
            slot,
            since: this.now,
            alive: true,
            hung: false,
            servesFrom: this.now + delay,
        };
        this.servers.push(server);
        return server;
    }

    /** The servers of a slot that exist. */
    living(slot: number): Server[] {
        return this.servers.filter((server) => server.slot === slot && server.alive);
    }

    /** Whether the slot's server really serves. */
    serves(slot: number): boolean {
        const server = this.living(slot)[0];
        if (!server || server.hung || this.now < server.servesFrom || this.is("pause", slot)) return false;
        return !(this.is("flap", slot) && Math.floor(this.now / 4) % 2 === 0);
    }

    /** Slots whose server exists and will never serve by itself. */
    stuck(): number[] {
        return this.names.flatMap((_, slot) => {
            const server = this.living(slot)[0];
            return server && (server.hung || server.servesFrom === Number.POSITIVE_INFINITY) ? [slot] : [];
        });
    }

    observe(): Observation {
        const unseen = (error: string) => ({ seen: false, error });
        const slots = this.is("stateUnreadable") ? [] : this.names.map((_, slot) => this.observeSlot(slot));
        const unknown = slots.some(({ controlPlane }) => controlPlane.state === "unknown");
        const pause: Pause = { who: "operator", why: "simulation", when: START };
        this.lastSeen = {
            version: 1,
            time: this.now,
            deployment: this.is("stateUnreadable") ? unseen("state") : { seen: true },
            consul: this.is("noLeader") ? unseen("no leader") : { seen: true },
            controlPlane: unknown || this.is("stateUnreadable") ? unseen("503") : { seen: true },
            ...(this.is("switch") ? { pause } : {}),
            slots,
        };
        return this.lastSeen;
    }

    private observeSlot(slot: number): SlotObservation {
        const serves = this.serves(slot);
        const cut = this.is("partition");
        const consul: ConsulState = this.is("noLeader")
            ? "unknown"
            : serves && !cut && !this.is("allCritical")
              ? "passing"
              : "critical";
        const balancer: BalancerState = serves && !cut ? "up" : "down";
        return {
            slot: this.names[slot] ?? "",
            urn: urnOf(slot),
            serverId: this.state[slot] ?? "",
            controlPlane: this.view(slot),
            consul,
            balancers: { "lb-0": balancer, "lb-1": this.is("balancerSilent") ? "unknown" : balancer },
        };
    }

    private view(slot: number): ControlPlaneView {
        if (this.is("controlPlaneError") || this.is("serverUnknown", slot)) return { state: "unknown" };
        const server = this.living(slot).find(({ id }) => id === this.state[slot]);
        if (this.is("falseGone", slot)) return { state: "gone" };
        return server ? { state: "active", activeSince: server.since } : { state: "gone" };
    }

    /** The deployment engine; `wait` lets time pass. */
    engine(wait: (seconds: number) => Promise<void>): Engine {
        return {
            poolSlots: async () => [],
            previewReplace: async (urn) => {
                await wait(PREVIEW_SECONDS);
                const operations: Operation[] = [
                    { op: "same", urn: "stack" },
                    { op: "delete-replaced", urn },
                    { op: "replace", urn },
                    { op: "create-replacement", urn },
                ];
                this.previewedDrift = this.is("drift");
                return this.previewedDrift ? [...operations, { op: "update", urn: "another" }] : operations;
            },
            replace: async (urn) => {
                const running = this.runs.some((run) => run.result === "running");
                if (running || this.is("locked")) throw named("ConcurrentUpdateError", "the stack is currently locked");
                const slot = slotOf(urn);
                await this.judge(slot);
                const run: Run = { slot, startedAt: this.now, step: 0, result: "running" };
                this.runs.push(run);
                while (run.result === "running") await wait(1);
                if (run.result === "quota") throw new Error("Quota exceeded for instances");
                if (run.result === "invalid") throw new Error("400 Bad request: Invalid image");
                if (run.result !== "done") throw new Error("the run failed");
            },
        };
    }

    /** The engine's process dies where it is. */
    killEngine(): void {
        for (const run of this.runs) if (run.result === "running") this.finish(run, "killed");
    }

    private finish(run: Run, result: Run["result"]): void {
        run.result = result;
        run.endedAt = this.now;
    }

    private step(run: Run): void {
        run.step++;
        if (run.step === 1) {
            if (this.is("invalid")) {
                this.finish(run, "invalid");
                return;
            }
            const old = this.living(run.slot).find(({ id }) => id === this.state[run.slot]);
            if (old) old.alive = false;
        } else if (run.step === 2) {
            if (this.is("quota")) {
                this.finish(run, "quota");
                return;
            }
            if (this.is("engineFails")) {
                this.finish(run, "failed");
                return;
            }
            // A slot has one address: what is there gives way.
            for (const server of this.living(run.slot)) server.alive = false;
            run.server = this.boot(run.slot);
        } else if (run.step === 3) {
            this.state[run.slot] = run.server?.id ?? "";
        } else if (run.step === STEPS) this.finish(run, "done");
    }

    /** Says which rules are broken by replacing this slot's server now. */
    private async judge(slot: number): Promise<void> {
        const { policy } = this;
        const fail = (rule: string) => this.broken.push(`${rule} (at ${this.now - START} s, gw-${slot})`);
        const seen = this.lastSeen;
        const target = seen?.slots[slot];
        if (!seen || !target || this.now - seen.time > 1) return void fail("acted without having looked");
        const existing = seen.slots.filter(({ controlPlane }) => controlPlane.state === "active");
        if (!seen.consul.seen || !seen.controlPlane.seen || !seen.deployment.seen) fail("acted blindly");
        if (seen.pause) fail("acted although paused");
        const atWork = target.consul === "passing" && Object.values(target.balancers).includes("up");
        if (isHealthy(target) || atWork) fail("replaced a server at work");
        if (this.previewedDrift) fail("changed more than one slot");
        const { inFlight } = await this.stored();
        if (inFlight?.slot !== target.slot || this.now - inFlight.startedAt > 1) fail("did not take the budget first");
        if (target.controlPlane.state === "active") {
            const outOfService = seen.slots.filter((other) => !isServing(other)).length;
            if (outOfService > maxGone(policy, this.size)) fail("the breaker did not trip");
            const critical = existing.filter(({ consul }) => consul === "critical").length;
            if (critical === this.size) fail("all were lost at once");
            const server = this.living(slot)[0];
            const age = this.now - (server?.since ?? this.now);
            const lost = this.now - Math.max(this.lastServed[slot] ?? 0, server?.since ?? 0);
            if (lost < policy.softSeconds) fail("did not give the server its time");
            if (server && server.servesFrom > this.now && age < policy.bootGraceSeconds)
                fail("replaced a booting server");
        }
        this.judgeBudget(fail);
        this.judgeFlight(slot, fail);
        this.judgeTries(slot, fail);
    }

    /** Waits that the loop owes after a failure, as long as it lives to remember it. */
    private judgeTries(slot: number, fail: (rule: string) => void): void {
        const { policy } = this;
        const own = this.runs.filter((run) => run.slot === slot);
        const remembered = this.runs.filter(({ startedAt }) => startedAt > Math.max(this.crashedAt, this.pardonedAt));
        for (const { slot: other, result, endedAt = 0, server } of remembered) {
            const ago = this.now - endedAt;
            if (result === "quota" && ago < policy.holdSeconds) fail("did not hold");
            if (result === "failed" && other === slot && ago < policy.backoffFirstSeconds) fail("did not back off");
            const same = (server?.id ?? this.state[slot]) === this.state[slot];
            if (result === "invalid" && other === slot && same) fail("went on with an invalid configuration");
        }
        const vain = own.filter(
            ({ startedAt, result, server }) =>
                this.now - startedAt < policy.triesWindowSeconds &&
                startedAt > this.pardonedAt &&
                (result === "failed" || (result === "done" && server?.servesFrom === Number.POSITIVE_INFINITY)) &&
                startedAt > (this.lastServed[slot] ?? 0),
        );
        if (vain.length >= policy.triesPerSlot) fail("tried too often");
    }

    private judgeBudget(fail: (rule: string) => void): void {
        const within = (span: number) =>
            this.runs.filter(({ startedAt, result }) => result !== "quota" && this.now - startedAt < span).length + 1;
        if (within(HOUR) > this.policy.budgetPerHour) fail("the hour's budget was exceeded");
        if (within(DAY) > this.policy.budgetPerDayPerServer * this.size) fail("the day's budget was exceeded");
    }

    private judgeFlight(slot: number, fail: (rule: string) => void): void {
        const last = this.runs.filter(({ result }) => result === "done").at(-1);
        const server = last?.server;
        if (!last || !server || last.slot === slot || !server.alive || server.hung) return;
        const { bootGraceSeconds, healthyBetweenSeconds } = this.policy;
        const landed = Math.max(last.endedAt ?? 0, server.servesFrom) + healthyBetweenSeconds;
        const given = this.now - server.since >= bootGraceSeconds;
        // Then the loop may have reason to believe that the last one has failed, or that it is done.
        const disturbing: readonly Fault["kind"][] = ["pause", "flap", "operator", "falseGone"];
        const disturbed = this.faults.some(({ kind }) => disturbing.includes(kind));
        if (this.now < landed && !given && !disturbed) fail("a second one was in flight");
    }

    /** Whether the loop may, for all it remembers, replace another one. A crash may have cost it more than it used. */
    async budgetLeft(): Promise<boolean> {
        const { taken } = await this.stored();
        const within = (span: number) => taken.filter((at) => this.now - at < span).length;
        const { budgetPerHour, budgetPerDayPerServer } = this.policy;
        return within(HOUR) < budgetPerHour && within(DAY) < budgetPerDayPerServer * this.size;
    }
}

function urnOf(slot: number): string {
    return `urn:pulumi:simulation::gateway::Instance::gw-${slot}`;
}

function slotOf(urn: string): number {
    return Number(urn.split("-").at(-1));
}

function named(name: string, message: string): Error {
    return Object.assign(new Error(message), { name });
}
