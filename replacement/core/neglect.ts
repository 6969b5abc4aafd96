/** Finds servers that have been ill for too long without anything being done about it. Pure. */
import type { Decision } from "./decision";
import type { ReplacementPolicy } from "./policy";

/** Since when each slot that is ill, and `pool` when the loop is blind, has been so: seconds since 1970. */
export type IllSince = Readonly<Record<string, number>>;

/** The key of {@link IllSince} for a loop that does not see what it needs. */
const BLIND = "pool";
const SIGHT: readonly string[] = ["deployment", "consulLeader", "controlPlane"];

/**
 * How long a server may be ill before that is an alarm, in seconds: the loop replaces a server after `softSeconds` at most, and
 * the first of a pool that is lost as a whole after twice as long. Whatever takes longer waits for something.
 */
export function patience({ softSeconds, intervalSeconds }: ReplacementPolicy): number {
    return 2 * softSeconds + 2 * intervalSeconds;
}

/** Who is ill after a decision, and since when. A server that boots, or whose replacement is in flight, is not. */
export function stillIll(before: IllSince, { time, pool, slots, memory }: Decision): IllSince {
    const ill = slots
        .filter(
            ({ slot, condition }) =>
                condition !== "healthy" && condition !== "starting" && memory.inFlight?.slot !== slot,
        )
        .map(({ slot }) => slot);
    const blind = pool.some(({ gate, passed }) => !passed && SIGHT.includes(gate)) ? [BLIND] : [];
    return Object.fromEntries([...ill, ...blind].map((name) => [name, before[name] ?? time]));
}

/**
 * What to tell about those that have been ill for longer than {@link patience}: each with the rules that hold the loop
 * back. The text does not change while nothing else does. Undefined: nobody has.
 */
export function neglected(since: IllSince, decision: Decision, policy: ReplacementPolicy): string | undefined {
    const late = (name: string) => decision.time - (since[name] ?? decision.time) > patience(policy);
    const failing = decision.pool.filter(({ passed }) => !passed);
    const blind = late(BLIND) ? failing.filter(({ gate }) => SIGHT.includes(gate)).map(({ reason }) => reason) : [];
    const ill = decision.slots
        .filter(({ slot }) => late(slot))
        .map(({ slot, condition, evidence, verdicts }) => {
            const rules = [...failing, ...verdicts.filter(({ passed }) => !passed)].map(({ gate }) => gate);
            const why =
                rules.length > 0 ? rules.join(", ") : evidence ? "another one comes first" : "the observers disagree";
            return `${slot} is ${condition} and not replaced (${why})`;
        });
    return blind.length + ill.length > 0 ? [...blind, ...ill].join("; ") : undefined;
}
