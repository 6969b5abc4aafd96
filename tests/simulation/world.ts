/**
 * A small world for the replacement loop: machines with daemons, a pool of servers, a control plane, Consul with its
 * sessions, two balancers, and a deployment engine with its state and lock. Time only goes on when somebody waits. It
 * says at once when a rule is broken.
 */

import type { BalancerState } from "../../clients/balancerStatus";
import type { Engine, Operation } from "../../replacement/act/engine";
import type { Memory } from "../../replacement/core/loopMemory";
import {
    type ConsulState,
    type ControlPlaneView,
    isHealthy,
    isServing,
    type Observation,
    type Pause,
    type ReplaceRequest,
    type SlotObservation,
} from "../../replacement/core/observation";
import { maxGone, type ReplacementPolicy } from "../../replacement/core/policy";
import type { PendingCreate, Slot } from "../../replacement/core/pool";
import type { FoundServer, LoosePart, OrphanCleanup } from "../../replacement/core/recovery";
import { MemoryLocks } from "../../replacement/leaderLocks";
import { leaseTimes } from "../../replacement/lease";
import type { ReplacementEpoch } from "../../replacement/serverMetadata";
import { memoryStore, type Store } from "../../replacement/store";
import { type Process, START, Timeline } from "./timeline";

/** What can go wrong, for `seconds` from `at` (seconds after the start) on; `slot` is the slot or machine it concerns. */
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
    /** The control plane says ERROR of it. */
    "error",
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
    /** An operator's run holds the stack. */
    "locked",
    /** The quota is used up. */
    "quota",
    /** New servers find no host, and fail. */
    "noValidHost",
    /** The engine rejects the configuration. */
    "invalid",
    /** The engine fails half-way. */
    "engineFails",
    /** Deleting a server takes long. */
    "slowDelete",
    /** Deleting this slot's server does not end. */
    "stuckDelete",
    /** A run leaves a volume behind. */
    "leak",
    /** An earlier leader's engine has made a second server, at the last moment. */
    "duplicate",
    /** A run would change another server, too. */
    "drift",
    /** The pause switch is pressed. */
    "switch",
    /** An operator replaces the server himself. */
    "operator",
    /** A daemon's process is killed, and its engine with it or not; it is started again after so many seconds. */
    "killDaemon",
    "killMachine",
    /** A daemon's process is stopped (SIGSTOP) for so many seconds; or all that runs on its machine. */
    "stopDaemon",
    "stopMachine",
    /** A daemon's machine is cut off from Consul. */
    "cutOff",
    /** The leader's session ends. */
    "endSession",
] as const;

/** Kinds that concern a daemon's machine. */
export const machineFaults: readonly Fault["kind"][] = ["killDaemon", "killMachine", "stopDaemon", "stopMachine"];

/** A server that exists, or existed. */
export interface Server {
    readonly id: string;
    readonly slot: number;
    readonly since: number;
    readonly epoch: number;
    alive: boolean;
    hung: boolean;
    failed: "no" | "error" | "noRoom";
    /** When it begins to serve. */
    readonly servesFrom: number;
}

/** A run of the engine that replaces a slot's server: a process of its own on a daemon's machine. */
export interface Run {
    readonly slot: number;
    readonly machine: number;
    readonly daemon: Process;
    readonly epoch: number;
    readonly startedAt: number;
    /** The deployment's state as it was read at the start: what is written is made from it. */
    readonly state: string[];
    step: number;
    result: "running" | "done" | "quota" | "invalid" | "failed" | "killed";
    interrupted: boolean;
    endedAt?: number;
    server?: Server;
    /** Calls to the control plane since a later leader began a run. */
    late: number;
}

interface StateLock {
    readonly run?: Run;
    readonly host: string;
}

const PREVIEW_SECONDS = 2;
/** How long an interrupted run has until it is killed, seconds: `killAfterSeconds` of the engine. */
const KILL_AFTER = 5;
const HOUR = 3600;
const DAY = 86_400;

export class World {
    readonly timeline = new Timeline();
    readonly servers: Server[] = [];
    readonly runs: Run[] = [];
    /** Rules that were broken. */
    readonly broken: string[] = [];
    readonly locks: MemoryLocks;
    readonly store: Store;
    readonly names: readonly string[];
    /** What an operator asks for. */
    request: ReplaceRequest | undefined;
    /** Volumes without a server. */
    parts: LoosePart[] = [];
    /** Machines that are stopped. */
    readonly stopped = new Set<number>();
    /** Told when a daemon on this machine becomes the leader. */
    onLeader: (machine: number) => void = () => undefined;
    /** When the loop's leader changed or died last, and when an operator let given-up slots be tried again. */
    forgottenAt = 0;
    pardonedAt = 0;
    /** For how many seconds all have been at work. */
    wholeFor = 0;
    /** Locks that were removed although their owner was alive. */
    private lock: StateLock | undefined;
    /** Per slot the server that the deployment's state names. */
    private state: string[] = [];
    private readonly pending = new Set<number>();
    private readonly begun = new Set<Fault>();
    /** Per slot, when it last was seen at work for so long that the loop cannot have missed it; and for how long it is. */
    private readonly lastServed: number[] = [];
    private readonly servedFor: number[] = [];
    private lastSeen: Observation | undefined;
    /** What each daemon's last preview was of, and whether it showed that more than the slot would change. */
    private readonly previewed = new Map<Process, { readonly slot: number; readonly state: string; drift: boolean }>();
    private count = 0;

    constructor(
        readonly size: number,
        private readonly faults: readonly Fault[],
        private readonly policy: ReplacementPolicy,
    ) {
        // Consul ends a session late, but never early.
        this.locks = new MemoryLocks(
            () => this.now,
            leaseTimes,
            () => 1 + (this.count++ % 5) / 4,
        );
        this.store = memoryStore((session) => this.locks.holds(session));
        this.names = Array.from({ length: size }, (_, slot) => `gw-${slot}`);
        for (let slot = 0; slot < size; slot++) {
            this.state[slot] = this.boot(slot, 0).id;
            this.lastServed[slot] = this.now;
        }
        this.timeline.after(1, () => this.tick());
    }

    get now(): number {
        return this.timeline.now;
    }

    /** A second passes. */
    private tick(): void {
        this.timeline.after(1, () => this.tick());
        for (const run of this.runs) {
            if (run.result === "running" && !this.stopped.has(run.machine)) this.step(run);
        }
        for (const fault of this.faults) if (this.since(fault) && !this.begun.has(fault)) this.strike(fault);
        for (let slot = 0; slot < this.size; slot++) {
            const visible = this.serves(slot) && !this.is("partition");
            const seconds = visible ? (this.servedFor[slot] ?? 0) + 1 : 0;
            this.servedFor[slot] = seconds;
            if (seconds > PREVIEW_SECONDS + this.policy.intervalSeconds) this.lastServed[slot] = this.now;
        }
        this.wholeFor = this.names.every((_, slot) => this.serves(slot)) ? this.wholeFor + 1 : 0;
    }

    private since({ at }: Fault): boolean {
        return this.now >= START + at;
    }

    /** Whether such a fault is there now, for this slot or machine where it concerns one. */
    is(kind: Fault["kind"], slot?: number, of = this.size): boolean {
        return this.faults.some(
            (fault) =>
                fault.kind === kind &&
                this.since(fault) &&
                this.now < START + fault.at + fault.seconds &&
                (slot === undefined || fault.slot % of === slot),
        );
    }

    private strike(fault: Fault): void {
        this.begun.add(fault);
        const slot = fault.slot % this.size;
        if (fault.kind === "endSession" && this.locks.holder) this.locks.invalidate(this.locks.holder);
        if (fault.kind === "leak") this.parts.push({ kind: "volume", id: `volume-${++this.count}` });
        if (fault.kind === "duplicate") this.boot(slot, Math.max(0, this.locks.epoch - 1));
        const server = this.current(slot);
        if (!server) return;
        if (fault.kind === "die") server.alive = false;
        if (fault.kind === "hang") server.hung = true;
        if (fault.kind === "error") server.failed = "error";
        if (fault.kind === "operator" && !this.lock) {
            server.alive = false;
            this.state[slot] = this.boot(slot, 0).id;
        }
    }

    private boot(slot: number, epoch: number, failed: Server["failed"] = "no"): Server {
        const delay = this.is("badImage") ? Number.POSITIVE_INFINITY : this.is("slowBoot") ? 20 : 2;
        const servesFrom = this.now + delay;
        const id = `server-${++this.count}`;
        const server: Server = { id, slot, since: this.now, epoch, alive: true, hung: false, failed, servesFrom };
        this.servers.push(server);
        return server;
    }

    /** The servers of a slot that exist. */
    living(slot: number): Server[] {
        return this.servers.filter((server) => server.slot === slot && server.alive);
    }

    private current(slot: number): Server | undefined {
        return this.living(slot).find(({ id }) => id === this.state[slot]);
    }

    /** Whether the slot's server really serves. */
    serves(slot: number): boolean {
        const server = this.current(slot);
        if (!server || server.hung || server.failed !== "no" || this.now < server.servesFrom) return false;
        return !this.is("pause", slot) && !(this.is("flap", slot) && Math.floor(this.now / 4) % 2 === 0);
    }

    /** Slots whose server exists and will never serve by itself. */
    stuck(): number[] {
        return this.names.flatMap((_, slot) => {
            const server = this.current(slot);
            return server && (server.hung || server.servesFrom === Number.POSITIVE_INFINITY) ? [slot] : [];
        });
    }

    observe(blindToConsul: boolean): Observation {
        const unseen = (error: string) => ({ seen: false, error });
        const noConsul = blindToConsul || this.is("noLeader");
        const slots = this.is("stateUnreadable") ? [] : this.names.map((_, slot) => this.observeSlot(slot, noConsul));
        const unknown = slots.some(({ controlPlane }) => controlPlane.state === "unknown");
        const pause: Pause = { who: "operator", why: "simulation", when: START };
        const switched = noConsul ? "unknown" : this.is("switch") ? pause : undefined;
        this.lastSeen = {
            version: 1,
            time: this.now,
            deployment: this.is("stateUnreadable") ? unseen("state") : { seen: true, stateVersion: this.stateVersion },
            consul: noConsul ? unseen("no leader") : { seen: true },
            controlPlane: unknown || this.is("stateUnreadable") ? unseen("503") : { seen: true },
            ...(switched ? { pause: switched } : {}),
            ...(this.request && !noConsul ? { request: this.request } : {}),
            slots,
        };
        return this.lastSeen;
    }

    private observeSlot(slot: number, noConsul: boolean): SlotObservation {
        const serves = this.serves(slot);
        const cut = this.is("partition");
        const consul: ConsulState = noConsul
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
        if (this.is("falseGone", slot)) return { state: "gone" };
        const server = this.current(slot);
        if (!server) return { state: "gone" };
        if (server.failed !== "no") return { state: "error", ...(server.failed === "noRoom" ? { noRoom: true } : {}) };
        return { state: "active", activeSince: server.since };
    }

    /** The deployment engine as a daemon has it. */
    engine(daemon: Process, machine: number, session: () => string | undefined): Engine {
        return {
            pool: async () => ({ slots: this.slots(), stateVersion: this.stateVersion }),
            previewReplace: async (urn) => {
                await daemon.wait(PREVIEW_SECONDS);
                const operations: Operation[] = [
                    { op: "same", urn: "stack" },
                    { op: "delete-replaced", urn },
                    { op: "replace", urn },
                    { op: "create-replacement", urn },
                ];
                const drift = this.is("drift");
                this.previewed.set(daemon, { slot: slotOf(urn), state: this.stateVersion, drift });
                return drift ? [...operations, { op: "update", urn: "another" }] : operations;
            },
            replace: async (urn, signal, replacementEpoch) => {
                signal.throwIfAborted();
                if (this.lock || this.is("locked")) {
                    throw named("ConcurrentUpdateError", "the stack is currently locked");
                }
                const run = await this.begin(slotOf(urn), daemon, machine, replacementEpoch, session());
                const onAbort = () => {
                    run.interrupted = true;
                    this.timeline.after(KILL_AFTER, () => this.end(run, "killed"), daemon);
                };
                signal.addEventListener("abort", onAbort, { once: true });
                while (run.result === "running") await daemon.wait(1);
                if (run.result === "quota") throw new Error("Quota exceeded for instances");
                if (run.result === "invalid") throw new Error("400 Bad request: Invalid image");
                if (run.result !== "done") throw new Error("the run failed");
            },
        };
    }

    private get stateVersion(): string {
        return JSON.stringify(this.state);
    }

    private slots(): Slot[] {
        return this.names.map((name, slot) => ({ name, urn: urnOf(slot), serverId: this.state[slot] ?? "" }));
    }

    private async begin(
        slot: number,
        daemon: Process,
        machine: number,
        replacementEpoch: ReplacementEpoch | undefined,
        session?: string,
    ) {
        const epoch = replacementEpoch?.epoch ?? 0;
        await this.judge(slot, daemon, epoch, session);
        const { now: startedAt } = this;
        const run: Run = {
            ...{ slot, machine, daemon, epoch, startedAt, state: [...this.state] },
            ...{ step: 0, result: "running", interrupted: false, late: 0 },
        };
        this.runs.push(run);
        this.lock = { run, host: hostOf(machine) };
        return run;
    }

    /** Kills the runs of a machine; their locks stay. */
    killRuns(machine: number): void {
        for (const run of this.runs) if (run.machine === machine) this.end(run, "killed");
    }

    private end(run: Run, result: Run["result"]): void {
        if (run.result !== "running") return;
        run.result = result;
        run.endedAt = this.now;
        // What was killed leaves its lock.
        if (result !== "killed" && this.lock?.run === run) this.lock = undefined;
    }

    /** A run makes a call to the control plane: one that a later leader has taken over from may make the one it was at. */
    private mutates(run: Run): void {
        if (!this.runs.some((other) => other.epoch > run.epoch)) return;
        if (++run.late > 1) this.fail(`a run of epoch ${run.epoch} went on beside a later leader's`, run.slot);
    }

    private step(run: Run): void {
        const old = this.living(run.slot).find(({ id }) => id === run.state[run.slot]);
        const next = run.step + 1;
        // Interrupted, it ends what it is at, and begins nothing.
        if (run.interrupted && next !== 4) {
            if (next !== 2 || !old || !this.is("stuckDelete", run.slot)) this.end(run, "failed");
            return;
        }
        switch (next) {
            case 1:
                if (this.is("invalid")) {
                    this.end(run, "invalid");
                    return;
                }
                break;
            case 2:
                if (
                    old &&
                    (this.is("stuckDelete", run.slot) || (this.is("slowDelete") && this.now - run.startedAt < 20))
                )
                    return;
                if (this.is("controlPlaneError")) {
                    this.end(run, "failed");
                    return;
                }
                this.mutates(run);
                if (old) old.alive = false;
                break;
            case 3:
                if (this.is("quota")) {
                    this.end(run, "quota");
                    return;
                }
                if (this.is("engineFails") || this.is("controlPlaneError")) {
                    this.end(run, "failed");
                    return;
                }
                this.pending.add(run.slot);
                this.mutates(run);
                run.server = this.boot(run.slot, run.epoch, this.is("noValidHost") ? "noRoom" : "no");
                break;
            case 4:
                run.state[run.slot] = run.server?.id ?? "";
                this.state = [...run.state];
                this.pending.delete(run.slot);
                if (run.server?.failed === "noRoom") {
                    this.end(run, "quota");
                    return;
                }
                break;
            default:
                this.end(run, "done");
        }
        run.step = next;
    }

    /** What looks for leftovers, as a daemon has it. */
    orphanCleanup(daemon: Process, machine: number): OrphanCleanup {
        return {
            search: async () => {
                if (this.is("controlPlaneError") || this.is("stateUnreadable")) throw new Error("503");
                // The operator works on the first machine.
                const lock = this.lock ?? (this.is("locked") ? { host: hostOf(0) } : undefined);
                const orphaned = this.runs.filter(
                    (run) => run.result === "running" && run.machine === machine && run.daemon !== daemon,
                );
                const runs = !lock?.run || lock.run.result === "running";
                const owner = lock?.host !== hostOf(machine) ? "elsewhere" : runs ? "alive" : "dead";
                const pid = lock?.run ? this.runs.indexOf(lock.run) : -1;
                return {
                    engines: orphaned.map((run) => ({ pid: this.runs.indexOf(run) })),
                    locks: lock ? [{ id: `lock-${pid}`, host: lock.host, pid, owner }] : [],
                    pending: [...this.pending].map((slot): PendingCreate => ({ urn: urnOf(slot), slot: `gw-${slot}` })),
                    wanted: this.slots(),
                    servers: this.servers.filter(({ alive }) => alive).map(toFound),
                    parts: [...this.parts],
                };
            },
            carryOut: async (step) => {
                await daemon.wait(0.1);
                switch (step.kind) {
                    case "killEngine":
                        for (const run of this.runs) {
                            if (run.machine === machine && run.daemon !== daemon) this.end(run, "killed");
                        }
                        break;
                    case "removeLock":
                        this.judgeUnlocking();
                        this.lock = undefined;
                        break;
                    case "adopt":
                        this.state[slotOf(step.urn)] = step.serverId;
                        this.pending.delete(slotOf(step.urn));
                        break;
                    case "clearPending":
                        this.pending.delete(slotOf(step.urn));
                        break;
                    case "deleteServer":
                        this.deleteSurplus(step.server);
                        break;
                    case "deletePart":
                        this.parts = this.parts.filter(({ id }) => id !== step.part.id);
                }
            },
        };
    }

    private judgeUnlocking(): void {
        const { run } = this.lock ?? {};
        const works = run ? run.result === "running" && !this.stopped.has(run.machine) : this.is("locked");
        if (works) this.fail("removed the lock of a run that was alive", run?.slot ?? 0);
    }

    private deleteSurplus({ id, slot: name }: FoundServer): void {
        const server = this.servers.find((candidate) => candidate.id === id);
        const slot = this.names.indexOf(name);
        if (this.state[slot] === id) this.fail("deleted the deployment's own server as surplus", slot);
        if (server) server.alive = false;
    }

    /**
     * A daemon became the leader: no other one may take itself for it, nor have an engine at work. One that was stopped, and
     * went on at this very moment, interrupts its engine now; {@link mutates} minds what that still does.
     */
    elected(leader: number, others: boolean): void {
        if (others) this.broken.push(`two led at once (at ${this.now - START} s)`);
        for (const { result, machine, daemon, slot } of this.runs) {
            const stopped = daemon.stopped || this.stopped.has(machine) || this.now - daemon.resumedAt <= KILL_AFTER;
            const works = result === "running" && daemon.alive && !stopped;
            if (works && machine !== leader) this.fail("the engine of an earlier leader is still at work", slot);
        }
    }

    private fail(rule: string, slot: number): void {
        this.broken.push(`${rule} (at ${this.now - START} s, gw-${slot})`);
    }

    /** Says which rules are broken by replacing this slot's server now. */
    private async judge(slot: number, daemon: Process, epoch: number, session: string | undefined): Promise<void> {
        const { policy } = this;
        const fail = (rule: string) => this.fail(rule, slot);
        const seen = this.lastSeen;
        const target = seen?.slots[slot];
        if (!seen || !target || this.now - seen.time > 1) return void fail("acted without having looked");
        const ended = this.faults.some(({ kind }) => kind === "endSession");
        if (!ended && (session === undefined || !this.locks.holds(session))) fail("acted without the leader's lock");
        if (this.runs.some((run) => run.epoch > epoch)) fail("acted after a later leader had");
        if (this.runs.some((run) => run.result === "running" && !this.stopped.has(run.machine))) {
            fail("acted while another run was under way");
        }
        if (this.pending.size > 0) fail("acted before a creation that was cut off was settled");
        const existing = seen.slots.filter(({ controlPlane }) => controlPlane.state === "active");
        if (!seen.consul.seen || !seen.controlPlane.seen || !seen.deployment.seen) fail("acted blindly");
        if (seen.pause) fail("acted although paused");
        const asked = seen.request?.slot === target.slot;
        const atWork = target.consul === "passing" && Object.values(target.balancers).includes("up");
        if (!asked && (isHealthy(target) || atWork)) fail("replaced a server at work");
        const previewed = this.previewed.get(daemon);
        if (previewed?.drift) fail("changed more than one slot");
        if (previewed?.slot !== slot || previewed.state !== this.stateVersion)
            fail("acted without a preview of this state");
        const { inFlight } = (await this.store.load()).memory;
        if (inFlight?.slot !== target.slot || this.now - inFlight.startedAt > 1) fail("did not take the budget first");
        if (inFlight?.epoch !== epoch) fail("the intent bears another epoch");
        if (target.controlPlane.state === "active") {
            const others = seen.slots.filter((other) => other !== target && !isServing(other)).length;
            const canary = !asked && this.allLostForLong(seen.slots);
            if (others + 1 > maxGone(policy, this.size) && !canary) fail("the breaker did not trip");
            if (!asked) this.judgeSoft(slot, existing, canary, fail);
        }
        this.judgeBudget(fail);
        this.judgeFlight(slot, fail);
        this.judgeTries(slot, fail);
    }

    /** Whether each server out of service has not served for twice the usual time: then one of them is tried. */
    private allLostForLong(slots: readonly SlotObservation[]): boolean {
        return slots.every((each, index) => {
            const served = Math.max(this.lastServed[index] ?? 0, this.current(index)?.since ?? 0);
            return isServing(each) || this.now - served >= 2 * this.policy.softSeconds;
        });
    }

    private judgeSoft(
        slot: number,
        existing: readonly SlotObservation[],
        canary: boolean,
        fail: (rule: string) => void,
    ): void {
        const { policy } = this;
        const critical = existing.filter(({ consul }) => consul === "critical").length;
        if (critical === this.size && !canary) fail("all were lost at once");
        const server = this.current(slot);
        const age = this.now - (server?.since ?? this.now);
        const lost = this.now - Math.max(this.lastServed[slot] ?? 0, server?.since ?? 0);
        if (lost < policy.softSeconds) fail("did not give the server its time");
        if (server && server.servesFrom > this.now && age < policy.bootGraceSeconds) fail("replaced a booting server");
    }

    /** Waits that the loop owes after a failure, as long as it lives to remember it. */
    private judgeTries(slot: number, fail: (rule: string) => void): void {
        const { policy } = this;
        const own = this.runs.filter((run) => run.slot === slot);
        const since = Math.max(this.forgottenAt, this.pardonedAt);
        const remembered = this.runs.filter(({ startedAt }) => startedAt > since);
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
        if (!last || !server || last.slot === slot || !server.alive || server.hung || server.failed !== "no") return;
        const { bootGraceSeconds, healthyBetweenSeconds } = this.policy;
        const landed = Math.max(last.endedAt ?? 0, server.servesFrom) + healthyBetweenSeconds;
        const given = this.now - server.since >= bootGraceSeconds;
        // Then the loop may have reason to believe that the last one has failed, or that it is done.
        const disturbing: readonly Fault["kind"][] = ["pause", "flap", "operator", "falseGone", "error"];
        const disturbed = this.faults.some(({ kind }) => disturbing.includes(kind));
        if (this.now < landed && !given && !disturbed) fail("a second one was in flight");
    }

    /** Whether the loop may, for all it remembers, replace another one. A crash may have cost it more than it used. */
    budgetLeft({ taken }: Memory): boolean {
        const within = (span: number) => taken.filter((at) => this.now - at < span).length;
        const { budgetPerHour, budgetPerDayPerServer } = this.policy;
        return within(HOUR) < budgetPerHour && within(DAY) < budgetPerDayPerServer * this.size;
    }

    /** What is left at the end that should not be. */
    leftBehind(): string[] {
        const several = this.names.filter((_, slot) => this.living(slot).length > 1);
        return [
            ...several.map((name) => `${name} has more than one server`),
            ...(this.parts.length > 0 ? ["a volume is left"] : []),
            ...(this.lock ? ["a lock is left"] : []),
        ];
    }
}

function toFound({ id, slot, epoch, since }: Server): FoundServer {
    return { id, slot: `gw-${slot}`, epoch, createdAt: since };
}

/** The name of a daemon's machine. */
export function hostOf(machine: number): string {
    return `consul-${machine}`;
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
