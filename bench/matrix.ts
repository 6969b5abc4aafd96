/** What is measured, in which order: cells, profiles, and the seeded shuffle of them. */
import { createHash } from "node:crypto";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import type { RandomGenerator } from "pure-rand/types/RandomGenerator";
import type { LoadBalancerStack } from "../components/config";

/** How clients use connections: they keep some, or make one for each call. */
export type Mix = "kept" | "perCall";
export const mixes: readonly Mix[] = ["kept", "perCall"];

/** A way of getting calls to the gateways: a stack as it is deployed, none at all, or a stack without one of its parts. */
export interface Variant {
    readonly name: string;
    /** The deployment that it runs on. */
    readonly stage: LoadBalancerStack;
    /** What is left out: `balancer`: clients call the gateways in turn; `checks`: HAProxy's; `discovery`: its news. */
    readonly without?: "balancer" | "checks" | "discovery";
}

/** The stacks. */
export const stackVariants: readonly Variant[] = (["consul-template-haproxy", "fabio", "serf-haproxy"] as const).map(
    (stack) => ({ name: stack, stage: stack }),
);
/** No balancer: what the others cost, and what they give. */
export const direct: Variant = { name: "direct", stage: "consul-template-haproxy", without: "balancer" };
/** Stacks without one of their parts. */
export const ablations: readonly Variant[] = [
    { name: "haproxy-checks-off", stage: "consul-template-haproxy", without: "checks" },
    { name: "haproxy-discovery-frozen", stage: "consul-template-haproxy", without: "discovery" },
    { name: "fabio-discovery-frozen", stage: "fabio", without: "discovery" },
];

/** Every variant by name. */
export const variants: ReadonlyMap<string, Variant> = new Map(
    [direct, ...stackVariants, ...ablations].map((variant) => [variant.name, variant]),
);

/** One kind of measurement. */
export type Cell =
    /** The most calls a second, by a closed loop. */
    | { readonly kind: "saturation"; readonly variant: string; readonly mix: Mix }
    /** Latency, CPU and memory at `load` percent of the slowest stack's saturation. */
    | { readonly kind: "latency"; readonly variant: string; readonly mix: Mix; readonly load: number }
    /** A fault under load. Both mixes call at the same time, each at half of `load` percent of its own saturation. */
    | { readonly kind: "fault"; readonly variant: string; readonly fault: string; readonly load: number }
    /** What a pool of `size` costs, at rest and under a load that is the same for every size. */
    | { readonly kind: "pool"; readonly variant: string; readonly size: number };

/** A measurement to be made: a cell, and which repeat of it. */
export interface Trial {
    readonly cell: Cell;
    /** From 0. */
    readonly repeat: number;
}

/** A name for a trial that no other trial has. */
export function trialKey({ cell, repeat }: Trial): string {
    return `${cellKey(cell)}#${repeat}`;
}

/** A name for a cell that no other cell has. */
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

/** Trials on one deployment, between its boot and its end. */
export interface Block {
    readonly stage: LoadBalancerStack;
    readonly trials: readonly Trial[];
}

/** How much is measured. */
export interface Profile {
    readonly name: "quick" | "standard" | "full";
    /** The most gateways that are booted at a time. */
    readonly pool: number;
    /** How long latency and saturation are measured, seconds. */
    readonly seconds: number;
    /** What is measured in each round over all stacks. */
    readonly rounds: readonly (readonly Cell[])[];
}

/** Faults in the order in which reports show them; the names are those of `injections.ts`. */
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

/** Percent of the slowest stack's saturation. */
export const loads = [30, 50, 70] as const;
/** Sizes of the pool whose cost is measured. */
export const poolSizes = [2, 4, 8, 16] as const;
/** What ablations, and clients without a balancer, are tried with. */
const ablationFaults = ["gateway-term", "gateway-kill", "gateway-stop", "instance-kill"] as const;

const saturations = (): Cell[] =>
    [direct, ...stackVariants].flatMap(({ name }) =>
        mixes.map((mix) => ({ kind: "saturation", variant: name, mix }) as const),
    );

const latencies = (load: number): Cell[] =>
    [direct, ...stackVariants].flatMap(({ name }) =>
        mixes.map((mix) => ({ kind: "latency", variant: name, mix, load }) as const),
    );

const stackFaults = (load: number, names: readonly string[]): Cell[] =>
    stackVariants.flatMap(({ name, stage }) =>
        names
            .filter((fault) => fault !== "consul-leader" || stage !== "serf-haproxy")
            .map((fault) => ({ kind: "fault", variant: name, fault, load }) as const),
    );

const ablated = (load: number): Cell[] =>
    [direct, ...ablations].flatMap(({ name }) =>
        ablationFaults.map((fault) => ({ kind: "fault", variant: name, fault, load }) as const),
    );

const pools = (): Cell[] =>
    stackVariants.flatMap(({ name }) => poolSizes.map((size) => ({ kind: "pool", variant: name, size }) as const));

/** What everybody asks first: in the standard profile the most often. */
const keyFaults: readonly string[] = ["gateway-term", "gateway-kill", "gateway-stop"];
/** What takes long: in the standard profile at one load only. */
const courses: readonly string[] = ["rolling-restart", "scale", "route-changes"];
const otherFaults = faultNames.filter((name) => !keyFaults.includes(name) && !courses.includes(name));

/** Repeats of every cell in the full matrix. */
const FULL_REPEATS = 20;

/** What can be measured. Saturation comes first in each: the other rates follow from it. */
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
            [...latencies(70), ...latencies(30), ...loads.flatMap((load) => stackFaults(load, keyFaults))],
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
                ...loads.flatMap((load) => [...latencies(load), ...stackFaults(load, faultNames)]),
                ...ablated(50),
                ...pools(),
            ]),
        ],
    },
};

/**
 * The trials of a profile, in the order in which they are made: for each round the stacks in random order, and within a
 * stack its trials in random order, but those that need more than two gateways last. The same seed gives the same plan.
 */
export function planBlocks(profile: Profile, seed: number): readonly Block[] {
    const random = xoroshiro128plus(seed);
    const repeats = new Map<string, number>();
    return profile.rounds.flatMap((cells) => {
        const trials = cells.map((cell) => {
            const key = cellKey(cell);
            const repeat = repeats.get(key) ?? 0;
            repeats.set(key, repeat + 1);
            return { cell, repeat };
        });
        const byStage = new Map<LoadBalancerStack, Trial[]>();
        for (const trial of trials) {
            const stage = stageOf(trial.cell);
            byStage.set(stage, [...(byStage.get(stage) ?? []), trial]);
        }
        return shuffle([...byStage], random).map(([stage, own]) => {
            const small = own.filter(({ cell }) => cell.kind !== "pool");
            const large = own
                .filter(({ cell }) => cell.kind === "pool")
                .sort((a, b) => sizeOf(a.cell) - sizeOf(b.cell));
            return { stage, trials: [...shuffle(small, random), ...large] };
        });
    });
}

/** The deployment that a cell is measured on. @throws Error when there is no variant of that name. */
export function stageOf(cell: Cell): LoadBalancerStack {
    const variant = variants.get(cell.variant);
    if (!variant) throw new Error(`there is no variant ${cell.variant}`);
    return variant.stage;
}

const sizeOf = (cell: Cell) => (cell.kind === "pool" ? cell.size : 0);

/** What of a plan is wanted, by its trials' names; saturation is, because the other rates follow from it. */
export function only(blocks: readonly Block[], wanted: RegExp): readonly Block[] {
    const first = blocks.findIndex(({ trials }) => trials.some(({ cell }) => cell.kind !== "saturation"));
    return blocks
        .map((block, index) => ({
            ...block,
            trials: index < first ? block.trials : block.trials.filter((trial) => wanted.test(trialKey(trial))),
        }))
        .filter(({ trials }) => trials.length > 0);
}

/** What is left of a plan. */
export function remaining(blocks: readonly Block[], done: ReadonlySet<string>): readonly Block[] {
    return blocks
        .map((block) => ({ ...block, trials: block.trials.filter((trial) => !done.has(trialKey(trial))) }))
        .filter(({ trials }) => trials.length > 0);
}

/** A number from 0 up to 1 that is always the same for a trial of a seeded run: when within its second a fault comes. */
export function phaseOf(trial: Trial, seed: number): number {
    return (
        createHash("sha256")
            .update(`${seed} ${trialKey(trial)}`)
            .digest()
            .readUInt32BE() /
        2 ** 32
    );
}

/** The same in random order (Fisher and Yates). */
export function shuffle<T>(values: readonly T[], random: RandomGenerator): T[] {
    const shuffled = [...values];
    for (let last = shuffled.length - 1; last > 0; last--) {
        const other = uniformInt(random, 0, last);
        [shuffled[last], shuffled[other]] = [shuffled[other] as T, shuffled[last] as T];
    }
    return shuffled;
}
