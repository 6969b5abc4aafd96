/** Runs the real daemons (election, loop, recovery) in a {@link World}, and tells which rules were broken. */
import * as fc from "fast-check";
import { allowRetry } from "../../replacement/core/loopMemory";
import { localPolicy, maxGone, type ReplacementPolicy } from "../../replacement/core/policy";
import type { JournalEntry } from "../../replacement/journal";
import { type Lease, lead } from "../../replacement/lease";
import { type LoopParts, runLoop } from "../../replacement/loop";
import type { Store } from "../../replacement/store";
import { Process, START } from "./timeline";
import { type Fault, faultKinds, hostOf, machineFaults, World } from "./world";

/** When the leader is killed. */
export interface Crash {
    /** Before or after which of its calls to the outside, counted from the last crash of this kind. */
    readonly call: number;
    readonly when: "before" | "after";
    /** Whether a run of the engine dies with it, or goes on by itself. */
    readonly engineDies: boolean;
    /** Seconds until it is started again. */
    readonly downSeconds: number;
}

/** All that chance decides. */
export interface Schedule {
    readonly size: number;
    /** How many machines run a daemon. */
    readonly daemons: number;
    readonly budgetPerHour: number;
    readonly budgetPerDayPerServer: number;
    readonly faults: readonly Fault[];
    readonly crashes: readonly Crash[];
}

/** How a schedule went. */
export interface Result {
    /** Runs of the engine. */
    readonly runs: number;
    readonly crashes: number;
    /** How many leaders there were. */
    readonly epochs: number;
    /** Rules that were broken; empty is well. */
    readonly broken: readonly string[];
    /** Whether the pool was whole at the end. */
    readonly whole: boolean;
    /** Whether it had to be. */
    readonly expected: boolean;
    /** Simulated seconds. */
    readonly seconds: number;
}

/** The laptop's policy, with times of tries and of leftovers that a schedule of some minutes can show. */
export const simulatedPolicy: ReplacementPolicy = {
    ...localPolicy,
    intervalSeconds: 2,
    backoffFirstSeconds: 8,
    triesWindowSeconds: 150,
    stuckSeconds: 40,
    sweepSeconds: 20,
    orphanSeconds: 15,
};

/** Faults begin and crashes happen in the first so many seconds; then the world is well. */
export const CHAOS_SECONDS = 120;
/** After that the pool has to be whole at the latest. */
const HEALING_SECONDS = 600;
/** And for so long it has to have been, with nothing left over, for the simulation to end. */
const CALM_SECONDS = 30;

/** Arbitrary schedules. */
export function schedules(): fc.Arbitrary<Schedule> {
    const fault: fc.Arbitrary<Fault> = fc
        .record({
            kind: fc.constantFrom(...faultKinds),
            at: fc.integer({ min: 5, max: CHAOS_SECONDS - 1 }),
            seconds: fc.integer({ min: 1, max: 60 }),
            slot: fc.nat({ max: 5 }),
        })
        .map((drawn) => ({ ...drawn, seconds: Math.min(drawn.seconds, CHAOS_SECONDS - drawn.at) }));
    const deadly = fault.map((drawn) => ({ ...drawn, kind: drawn.seconds % 2 ? ("die" as const) : ("hang" as const) }));
    const ofMachines = fault.map((drawn) => ({
        ...drawn,
        kind: ([...machineFaults, "cutOff"] as const)[drawn.seconds % 5] ?? "cutOff",
    }));
    const crash: fc.Arbitrary<Crash> = fc.record({
        call: fc.integer({ min: 1, max: 120 }),
        when: fc.constantFrom("before", "after"),
        engineDies: fc.boolean(),
        downSeconds: fc.integer({ min: 0, max: 20 }),
    });
    return fc.record({
        size: fc.integer({ min: 1, max: 6 }),
        daemons: fc.constantFrom(1, 2, 3, 3),
        budgetPerHour: fc.constantFrom(2, 4, 12, 12),
        budgetPerDayPerServer: fc.constantFrom(1, 6, 6),
        faults: fc
            .tuple(
                fc.array(deadly, { maxLength: 5 }),
                fc.array(fault, { maxLength: 5 }),
                fc.array(ofMachines, { maxLength: 3 }),
            )
            .map((parts) => parts.flat()),
        crashes: fc.array(crash, { maxLength: 3 }),
    });
}

/** What a simulation tells besides its result. */
export interface Listener {
    /** Each entry of each daemon's journal. */
    readonly journal?: (entry: JournalEntry, machine: number) => void;
    /** The world, once it is made. */
    readonly world?: (world: World) => void;
}

/** Runs one schedule. The same schedule always goes the same way. */
export async function simulate(schedule: Schedule, listener: Listener = {}): Promise<Result> {
    const { size, faults, crashes, daemons, ...budgets } = schedule;
    const policy = { ...simulatedPolicy, ...budgets };
    const world = new World(size, faults, policy);
    listener.world?.(world);
    const { timeline } = world;
    const machines = Array.from({ length: daemons }, (_, at) => new Machine(world, at, policy, listener, crashes));
    for (const machine of machines) machine.start();
    world.onLeader = (leader) => {
        world.elected(
            leader,
            machines.some((machine) => machine.number !== leader && machine.leads()),
        );
    };
    for (const fault of faults) {
        if (!machineFaults.includes(fault.kind)) continue;
        const machine = machines[fault.slot % daemons];
        timeline.after(fault.at, () => machine?.suffer(fault));
    }
    timeline.after(CHAOS_SECONDS, () => void pardonAll(world));
    const chaos = START + CHAOS_SECONDS;
    await timeline.run(
        () =>
            world.now >= chaos + HEALING_SECONDS ||
            (world.now > chaos && world.wholeFor > CALM_SECONDS && world.leftBehind().length === 0),
    );
    const whole = world.wholeFor > 0;
    const { memory } = await world.store.load();
    const given = world.budgetLeft(memory) && !faults.some(({ kind }) => kind === "invalid");
    const stuck = world.stuck().length;
    const frozen = size <= 2 ? size : Math.ceil(size / 2);
    const expected = given && stuck <= maxGone(policy, size) && stuck < frozen;
    const broken = [...world.broken, ...(given ? world.leftBehind() : [])];
    if (expected && !whole) broken.push("the pool is not whole although the world is well");
    return {
        runs: world.runs.length,
        crashes: machines.reduce((sum, machine) => sum + machine.deaths, 0),
        epochs: world.locks.epoch,
        broken,
        whole,
        expected,
        seconds: world.now - START,
    };
}

/** An operator lets every slot be tried again. */
async function pardonAll(world: World): Promise<void> {
    world.pardonedAt = world.now;
    const { memory, index } = await world.store.load();
    await world.store.save(Object.keys(memory.slots).reduce(allowRetry, memory), index);
}

/** Calls to the outside that the leaders have made, and which crash is next: it hits whoever leads then. */
const counters = new WeakMap<World, { calls: number; crashed: number }>();

/** A machine that runs a daemon, which is started again when it was killed. */
class Machine {
    deaths = 0;
    private daemon: Process | undefined;
    private lease: Lease | undefined;
    private stop = new AbortController();
    /** What the daemon has written down on its disk: the session that may hold the lock. */
    private session: string | undefined;

    constructor(
        private readonly world: World,
        readonly number: number,
        private readonly policy: ReplacementPolicy,
        private readonly listener: Listener,
        private readonly crashes: readonly Crash[],
    ) {}

    /** Starts the daemon, which first ends what its predecessor on this machine has left running. */
    start(): void {
        const { world, number } = this;
        if (this.daemon?.alive) return;
        const daemon = new Process(world.timeline, `${hostOf(number)}/${this.deaths}`);
        this.daemon = daemon;
        this.stop = new AbortController();
        const predecessor = this.session;
        void (async () => {
            if (predecessor) {
                world.killRuns(number);
                await this.reach(daemon, () => world.locks.service.release(predecessor)).catch(() => undefined);
            }
            await this.lead(daemon);
        })();
    }

    /** Whether its daemon takes itself for the leader, and is not stopped. */
    leads(): boolean {
        const { daemon, lease } = this;
        return daemon?.alive === true && !daemon.stopped && lease?.lost.aborted === false;
    }

    /** What a fault does to it. */
    suffer({ kind, seconds, slot }: Fault): void {
        const { world, number, daemon } = this;
        const { timeline } = world;
        if (kind === "killDaemon" || kind === "killMachine") {
            this.die(kind === "killMachine" || slot % 2 === 0, seconds);
        } else if (daemon?.alive && !daemon.stopped) {
            daemon.stopped = true;
            if (kind === "stopMachine") world.stopped.add(number);
            timeline.after(seconds, () => {
                world.stopped.delete(number);
                timeline.resume(daemon, slot % 2 === 1);
            });
        }
    }

    /** The daemon is killed, and started again later. */
    private die(engineToo: boolean, downSeconds: number): void {
        if (!this.daemon?.alive) return;
        this.deaths++;
        this.daemon.alive = false;
        this.lease = undefined;
        this.world.stopped.delete(this.number);
        this.world.forgottenAt = this.world.now;
        if (engineToo) this.world.killRuns(this.number);
        this.world.timeline.after(downSeconds, () => this.start());
    }

    private async lead(daemon: Process): Promise<void> {
        const { world, number, listener } = this;
        const { service } = world.locks;
        const reach = <T>(does: () => Promise<T>) => this.reach(daemon, does);
        const write = (entry: JournalEntry) => listener.journal?.(entry, number);
        await lead(
            {
                locks: {
                    open: () => reach(() => service.open()),
                    renew: (session) => reach(() => service.renew(session)),
                    acquire: (session, holder) => reach(() => service.acquire(session, holder)),
                    release: (session) => reach(() => service.release(session)),
                    holder: () => reach(() => service.holder()),
                },
                clock: daemon.clock,
                holder: { host: hostOf(number), pid: this.deaths },
                signal: this.stop.signal,
                tell: (event) => write({ kind: "leadership", time: world.now, event }),
                onSession: (session) => {
                    this.session = session;
                },
            },
            async (lease) => {
                this.lease = lease;
                world.onLeader(number);
                await this.term(daemon, lease, write);
                this.lease = undefined;
            },
        );
    }

    /** A call to Consul from this machine. One whose answer is lost may have been carried out. */
    private async reach<T>(daemon: Process, does: () => Promise<T>): Promise<T> {
        const { world, number } = this;
        const cut = world.is("cutOff", number, 3);
        if (cut || world.is("noLeader")) {
            if (cut && Math.floor(world.now) % 3 === 0) await does().catch(() => undefined);
            await daemon.wait(1);
            throw new Error("Consul does not answer");
        }
        const result = await does();
        await daemon.wait(0.01);
        return result;
    }

    /** What the daemon does as the leader: the real loop, with calls that it may not survive. */
    private async term(daemon: Process, lease: Lease, write: (entry: JournalEntry) => void): Promise<void> {
        const { world, number, policy, stop } = this;
        const { store } = world;
        world.forgottenAt = world.now;
        const counter = counters.get(world) ?? { calls: 0, crashed: 0 };
        counters.set(world, counter);
        const never = new Promise<never>(() => undefined);
        const call = async <T>(does: () => Promise<T> | T): Promise<T> => {
            if (!daemon.alive) return never;
            const crash = this.crashes[counter.crashed];
            const fatal = ++counter.calls === crash?.call;
            const die = () => {
                counter.calls = 0;
                counter.crashed++;
                this.die(crash?.engineDies === true, crash?.downSeconds ?? 0);
                return never;
            };
            if (fatal && crash.when === "before") return die();
            const result = await does();
            return fatal ? die() : result;
        };
        const troubled = <T>(does: () => Promise<T>) =>
            call(() =>
                this.reach(daemon, async () => {
                    if (world.is("storeError")) throw new Error("the store does not answer");
                    return does();
                }),
            );
        const engine = world.engine(daemon, number, () => lease.session);
        const orphanCleanup = world.orphanCleanup(daemon, number);
        const parts: LoopParts = {
            observe: () => call(() => world.observe(world.is("cutOff", number, 3))),
            engine: {
                ...engine,
                previewReplace: (urn, signal) => call(() => engine.previewReplace(urn, signal)),
                replace: (urn, signal, replacementEpoch) => call(() => engine.replace(urn, signal, replacementEpoch)),
            },
            store: {
                load: () => troubled(() => store.load()),
                async save(memory, index, fence) {
                    if (world.is("storeConflict")) await touch(store);
                    return troubled(() => store.save(memory, index, fence));
                },
                pause: () => troubled(async () => (world.is("switch") ? { who: "", why: "", when: 0 } : undefined)),
                setPause: (pause) => store.setPause(pause),
            },
            orphanCleanup: {
                search: (signal) => call(() => orphanCleanup.search(signal)),
                carryOut: (step, signal) => call(() => orphanCleanup.carryOut(step, signal)),
            },
            commands: {
                reply: async ({ id }) => {
                    if (world.request?.id === id) world.request = undefined;
                },
            },
            journal: { append: write },
            policy,
            clock: daemon.clock,
            lease,
            host: hostOf(number),
            signal: stop.signal,
        };
        await runLoop(parts);
    }
}

/** Somebody else writes: the same memory, as a new version. */
async function touch(store: Store): Promise<void> {
    const { memory, index } = await store.load();
    await store.save(memory, index);
}
