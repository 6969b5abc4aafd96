/** The trials of the comparison and their order: cells, profiles, and a seeded shuffle. */
import { createHash } from "node:crypto";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import type { RandomGenerator } from "pure-rand/types/RandomGenerator";
import type { LoadBalancerStack } from "../config";

/** How clients use connections: they keep them, or open one per call. */
export type Mix = "kept" | "perCall";
export const mixes: readonly Mix[] = ["kept", "perCall"];

/** The stacks that are compared. */
export const comparedStacks: readonly LoadBalancerStack[] = ["consul-template-haproxy", "fabio", "serf-haproxy"];

/** A way to reach the gateways: a stack as deployed, no balancer, or a stack without one of its parts. */
export interface Variant {
    readonly name: string;
    /** The stack of the deployment that it runs on. */
    readonly stack: LoadBalancerStack;
    /**
     * The part left out. `balancer`: clients call the gateways in turn; `checks`: HAProxy's; `discovery`: updates from
     * the registry.
     */
    readonly without?: "balancer" | "checks" | "discovery";
}

/** The three stacks as deployed. */
export const stackVariants: readonly Variant[] = comparedStacks.map((stack) => ({ name: stack, stack }));
/** No balancer, for comparison: shows what the stacks cost and what they contribute. */
export const directVariant: Variant = { name: "direct", stack: "consul-template-haproxy", without: "balancer" };
/** Stacks without one of their parts. */
export const ablations: readonly Variant[] = [
    { name: "haproxy-checks-off", stack: "consul-template-haproxy", without: "checks" },
    { name: "haproxy-discovery-frozen", stack: "consul-template-haproxy", without: "discovery" },
    { name: "fabio-discovery-frozen", stack: "fabio", without: "discovery" },
];

/** Every variant by name. */
export const variants: ReadonlyMap<string, Variant> = new Map(
    [directVariant, ...stackVariants, ...ablations].map((variant) => [variant.name, variant]),
);

/** One kind of measurement. */
export type Cell =
    /** The highest rate of calls, from a closed loop. */
    | { readonly kind: "saturation"; readonly variant: string; readonly mix: Mix }
    /** Latency, CPU and memory at `load` percent of the slowest stack's saturation. */
    | { readonly kind: "latency"; readonly variant: string; readonly mix: Mix; readonly load: number }
    /** A fault under load. Both mixes call at once, each at half of `load` percent of its own saturation. */
    | { readonly kind: "fault"; readonly variant: string; readonly fault: string; readonly load: number }
    /** CPU and memory of a pool of `size` gateways, at rest and under a load that is the same for every size. */
    | { readonly kind: "pool"; readonly variant: string; readonly size: number };

/** One measurement: a cell, and the number of its repeat. */
export interface Trial {
    readonly cell: Cell;
    /** From 0. */
    readonly repeat: number;
}

/** The unique name of a trial. */
export function trialKey({ cell, repeat }: Trial): string {
    return `${cellKey(cell)}#${repeat}`;
}

/** The unique name of a cell. */
export function cellKey(cell: Cell): string {
    const { kind, variant } = cell;
    switch (cell.kind) {
        case "saturation":
            return `${kind}/${variant}/${cell.mix}`;
        case "latency":
            return `${kind}/${variant}/${cell.mix}/${cell.load}`;
        case "fault":
            return `${kind}/${variant}/${cell.fault}/${cell.load}`;
        case "pool":
            return `${kind}/${variant}/${cell.size}`;
    }
}

/** Trials on one deployment, between its boot and its power-off. */
export interface TrialBlock {
    readonly stack: LoadBalancerStack;
    readonly trials: readonly Trial[];
}

/** How much is measured. */
export interface Profile {
    readonly name: "quick" | "standard" | "full";
    /** The most gateways that run at a time. */
    readonly pool: number;
    /** Duration of a measurement of latency or saturation, seconds. */
    readonly seconds: number;
    /** The cells of each round over all stacks. */
    readonly rounds: readonly (readonly Cell[])[];
}

/** Faults in the order of the reports, by their names in `faultInjection.ts`. */
export const faultNames = [
    "gateway-term",
    "rolling-restart",
    "scale",
    "route-changes",
    "gateway-kill",
    "gateway-stop",
    "instance-kill",
    "host-loss",
    "agent-restart",
    "consul-leader",
    "registry-stop",
    "registry-empty",
    "balancer",
] as const;

/** Loads, in percent of the slowest stack's saturation. */
export const loadPercents = [30, 50, 70] as const;
/** Sizes of the pools that are measured. */
export const poolSizes = [2, 4, 8, 16] as const;
/** The faults for ablations and for clients without a balancer. */
const ablationFaults = ["gateway-term", "gateway-kill", "gateway-stop", "instance-kill"] as const;

const saturations = (): Cell[] =>
    [directVariant, ...stackVariants].flatMap(({ name }) =>
        mixes.map((mix) => ({ kind: "saturation", variant: name, mix }) as const),
    );

const latencies = (load: number): Cell[] =>
    [directVariant, ...stackVariants].flatMap(({ name }) =>
        mixes.map((mix) => ({ kind: "latency", variant: name, mix, load }) as const),
    );

const stackFaults = (load: number, names: readonly string[]): Cell[] =>
    stackVariants.flatMap(({ name, stack }) =>
        names
            .filter((fault) => fault !== "consul-leader" || stack !== "serf-haproxy")
            .map((fault) => ({ kind: "fault", variant: name, fault, load }) as const),
    );

const ablated = (load: number): Cell[] =>
    [directVariant, ...ablations].flatMap(({ name }) =>
        ablationFaults.map((fault) => ({ kind: "fault", variant: name, fault, load }) as const),
    );

const pools = (): Cell[] =>
    stackVariants.flatMap(({ name }) => poolSizes.map((size) => ({ kind: "pool", variant: name, size }) as const));

/** The most important faults. The standard profile repeats them most often. */
const keyFaults: readonly string[] = ["gateway-term", "gateway-kill", "gateway-stop"];
/** Faults that take long. The standard profile injects them at one load only. */
const longFaults: readonly string[] = ["rolling-restart", "scale", "route-changes"];
const otherFaults = faultNames.filter((name) => !keyFaults.includes(name) && !longFaults.includes(name));

/** Repeats of every cell in the full matrix. */
const FULL_REPEATS = 20;

/** The profiles. Each measures saturation first, because the other rates derive from it. */
export const profiles: Readonly<Record<Profile["name"], Profile>> = {
    quick: {
        name: "quick",
        pool: 2,
        seconds: 2,
        rounds: [
            saturations(),
            [...latencies(50), ...stackFaults(50, ["gateway-term", "gateway-kill", "gateway-stop"])],
        ],
    },
    standard: {
        name: "standard",
        pool: 16,
        seconds: 5,
        rounds: [
            saturations(),
            [...saturations(), ...latencies(50), ...stackFaults(50, faultNames), ...ablated(50), ...pools()],
            [...latencies(70), ...latencies(30), ...loadPercents.flatMap((load) => stackFaults(load, keyFaults))],
            stackFaults(50, keyFaults),
            stackFaults(70, otherFaults),
            stackFaults(30, otherFaults),
        ],
    },
    full: {
        name: "full",
        pool: 16,
        seconds: 10,
        rounds: [
            saturations(),
            ...Array.from({ length: FULL_REPEATS }, () => [
                ...saturations(),
                ...loadPercents.flatMap((load) => [...latencies(load), ...stackFaults(load, faultNames)]),
                ...ablated(50),
                ...pools(),
            ]),
        ],
    },
};

/**
 * The trials of a profile in their order. Each round takes the stacks in random order, and the trials of a stack in random
 * order, with those that need more than two gateways last. The same seed gives the same plan.
 */
export function planBlocks(profile: Profile, seed: number): readonly TrialBlock[] {
    const random = xoroshiro128plus(seed);
    const repeats = new Map<string, number>();
    return profile.rounds.flatMap((cells) => {
        const trials = cells.map((cell) => {
            const key = cellKey(cell);
            const repeat = repeats.get(key) ?? 0;
            repeats.set(key, repeat + 1);
            return { cell, repeat };
        });
        const byStack = new Map<LoadBalancerStack, Trial[]>();
        for (const trial of trials) {
            const stack = stackOf(trial.cell);
            byStack.set(stack, [...(byStack.get(stack) ?? []), trial]);
        }
        return shuffle([...byStack], random).map(([stack, own]) => {
            const small = own.filter(({ cell }) => cell.kind !== "pool");
            const large = own
                .filter(({ cell }) => cell.kind === "pool")
                .sort((a, b) => sizeOf(a.cell) - sizeOf(b.cell));
            return { stack, trials: [...shuffle(small, random), ...large] };
        });
    });
}

/** The stack of the deployment for a cell. @throws Error when the variant is unknown. */
export function stackOf(cell: Cell): LoadBalancerStack {
    const variant = variants.get(cell.variant);
    if (!variant) throw new Error(`there is no variant ${cell.variant}`);
    return variant.stack;
}

const sizeOf = (cell: Cell) => (cell.kind === "pool" ? cell.size : 0);

/** Selects trials by name. The first round's saturation always stays, because the other rates derive from it. */
export function selectTrials(blocks: readonly TrialBlock[], wanted: RegExp): readonly TrialBlock[] {
    const first = blocks.findIndex(({ trials }) => trials.some(({ cell }) => cell.kind !== "saturation"));
    return blocks
        .map((block, index) => ({
            ...block,
            trials: index < first ? block.trials : block.trials.filter((trial) => wanted.test(trialKey(trial))),
        }))
        .filter(({ trials }) => trials.length > 0);
}

/** The trials that are not done yet. */
export function remainingTrials(blocks: readonly TrialBlock[], done: ReadonlySet<string>): readonly TrialBlock[] {
    return blocks
        .map((block) => ({ ...block, trials: block.trials.filter((trial) => !done.has(trialKey(trial))) }))
        .filter(({ trials }) => trials.length > 0);
}

/** When to inject a fault within its second: from 0 up to 1, fixed by the trial and the seed of the run. */
export function phaseOf(trial: Trial, seed: number): number {
    return (
        createHash("sha256")
            .update(`${seed} ${trialKey(trial)}`)
            .digest()
            .readUInt32BE() /
        2 ** 32
    );
}

/** The values in random order (Fisher and Yates). */
export function shuffle<T>(values: readonly T[], random: RandomGenerator): T[] {
    const shuffled = [...values];
    for (let last = shuffled.length - 1; last > 0; last--) {
        const other = uniformInt(random, 0, last);
        [shuffled[last], shuffled[other]] = [shuffled[other] as T, shuffled[last] as T];
    }
    return shuffled;
}
