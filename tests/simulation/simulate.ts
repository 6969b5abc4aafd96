/** Runs the real loop in a {@link World}, kills it now and then, and tells which rules were broken. */
import * as fc from "fast-check";
import type { JournalEntry } from "../../replacement/journal";
import { type LoopParts, runLoop } from "../../replacement/loop";
import { forgive } from "../../replacement/memory";
import { localPolicy, maxGone, type ReplacementPolicy } from "../../replacement/policy";
import { memoryStore, type Store } from "../../replacement/store";
import { type Fault, faultKinds, World } from "./world";

/** When the loop is killed. */
export interface Crash {
    /** Before or after which of its calls to the outside, counted from the last start. */
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
    /** Rules that were broken; empty is well. */
    readonly broken: readonly string[];
    /** Whether the pool was whole at the end. */
    readonly whole: boolean;
    /** Whether it had to be. */
    readonly expected: boolean;
}

/** The laptop's policy, with times of tries that a schedule of some minutes can show. */
export const simulatedPolicy: ReplacementPolicy = {
    ...localPolicy,
    backoffFirstSeconds: 8,
    triesWindowSeconds: 150,
};

/** Faults begin and crashes happen in the first so many seconds; then the world is well. */
const CHAOS_SECONDS = 120;
/** After that the pool has to be whole at the latest. */
const HEALING_SECONDS = 400;

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
    const crash: fc.Arbitrary<Crash> = fc.record({
        call: fc.integer({ min: 1, max: 150 }),
        when: fc.constantFrom("before", "after"),
        engineDies: fc.boolean(),
        downSeconds: fc.integer({ min: 0, max: 20 }),
    });
    return fc.record({
        size: fc.integer({ min: 1, max: 6 }),
        budgetPerHour: fc.constantFrom(2, 4, 12, 12),
        budgetPerDayPerServer: fc.constantFrom(1, 6, 6),
        faults: fc
            .tuple(fc.array(deadly, { maxLength: 5 }), fc.array(fault, { maxLength: 5 }))
            .map(([some, others]) => [...some, ...others]),
        crashes: fc.array(crash, { maxLength: 4 }),
    });
}

/** Runs one schedule; `tell` is told of each entry of the loop's journal. */
export async function simulate(
    { size, faults, crashes, ...budgets }: Schedule,
    tell: (entry: JournalEntry) => void = () => undefined,
): Promise<Result> {
    const policy = { ...simulatedPolicy, ...budgets };
    const store = memoryStore();
    const world = new World(size, faults, policy, async () => (await store.load()).memory);
    const start = world.now;
    const end = start + CHAOS_SECONDS + HEALING_SECONDS;
    let pardoned = false;
    let wholeFor = 0;
    const over = () => world.now >= end || (world.now > start + CHAOS_SECONDS && wholeFor > 15);
    const pass = (seconds: number) => {
        world.advance(seconds);
        const whole = Array.from({ length: size }, (_, slot) => world.serves(slot)).every(Boolean);
        wholeFor = whole ? wholeFor + seconds : 0;
    };
    let crashed = 0;
    while (!over()) {
        await life(world, store, crashes[crashed], policy, tell, pass, over);
        const crash = crashes[crashed];
        if (!crash || over()) break;
        crashed++;
        world.crashedAt = world.now;
        if (crash.engineDies) world.killEngine();
        pass(crash.downSeconds);
        if (!pardoned && world.now > start + CHAOS_SECONDS) {
            pardoned = true;
            world.pardonedAt = world.now;
            await pardonAll(store);
        }
    }
    const living = Array.from({ length: size }, (_, slot) => world.living(slot).length);
    const whole = wholeFor > 0;
    const expected = await mustHeal(world, faults, policy);
    const broken = [...world.broken];
    if (living.some((count) => count > 1)) broken.push(`more than one server in a slot: ${living.join(" ")}`);
    if (expected && !whole) broken.push("the pool is not whole although the world is well");
    return { runs: world.runs.length, crashes: crashed, broken, whole, expected };
}

/** Whether the loop has all that it needs, at the end, to make the pool whole. */
async function mustHeal(world: World, faults: readonly Fault[], policy: ReplacementPolicy): Promise<boolean> {
    const stuck = world.stuck().length;
    const frozen = world.size <= 2 ? world.size : Math.ceil(world.size / 2);
    if (faults.some(({ kind, at, seconds }) => kind === "invalid" || at + seconds > CHAOS_SECONDS)) return false;
    return (await world.budgetLeft()) && stuck <= maxGone(policy, world.size) && stuck < frozen;
}

async function pardonAll(store: Store): Promise<void> {
    const { memory, index } = await store.load();
    await store.save(Object.keys(memory.slots).reduce(forgive, memory), index);
}

/** One life of the loop, which ends by its crash or when all is over. What it calls after its death never answers. */
async function life(
    world: World,
    store: Store,
    crash: Crash | undefined,
    policy: ReplacementPolicy,
    tell: (entry: JournalEntry) => void,
    pass: (seconds: number) => void,
    over: () => boolean,
): Promise<void> {
    const stop = new AbortController();
    let calls = 0;
    let die: () => void = () => undefined;
    const death = new Promise<void>((resolve) => {
        die = resolve;
    });
    const never = () => {
        die();
        return new Promise<never>(() => undefined);
    };
    const call = async <T>(does: () => Promise<T> | T): Promise<T> => {
        const fatal = ++calls === crash?.call;
        if (fatal && crash.when === "before") return never();
        const result = await does();
        return fatal ? never() : result;
    };
    const troubled = <T>(does: () => Promise<T>) =>
        call(() => {
            if (world.is("storeError")) throw new Error("the store does not answer");
            return does();
        });
    const wait = (seconds: number) =>
        call(() => {
            pass(seconds);
            if (over()) stop.abort();
        });
    const parts: LoopParts = {
        observe: () => call(() => world.observe()),
        engine: world.engine(wait),
        store: {
            load: () => troubled(() => store.load()),
            async save(memory, index) {
                if (world.is("storeConflict")) await touch(store);
                return troubled(() => store.save(memory, index));
            },
            pause: () => store.pause(),
            setPause: (pause) => store.setPause(pause),
        },
        journal: { append: tell },
        policy,
        clock: { now: () => world.now, sleep: (seconds) => wait(seconds) },
        signal: stop.signal,
    };
    await Promise.race([runLoop(parts), death]);
}

/** Somebody else writes: the same memory, as a new version. */
async function touch(store: Store): Promise<void> {
    const { memory, index } = await store.load();
    await store.save(memory, index);
}
