import type { Action } from "../../replacement/core/action";
import { emptyMemory, type Memory, type SlotMemory } from "../../replacement/core/loopMemory";
import type { Observation, SlotObservation } from "../../replacement/core/observation";
import { defaultPolicy, type ReplacementPolicy } from "../../replacement/core/policy";

/** The time of observations, unless a test says otherwise. */
export const NOW = 1_000_000;

/** The defaults with another interval's gap, so that tests need not observe every minute. */
export const policy: ReplacementPolicy = defaultPolicy;

/** A healthy slot `gw-0`, with changes. */
export function slot(changes: Partial<SlotObservation> = {}): SlotObservation {
    const name = changes.slot ?? "gw-0";
    return {
        slot: name,
        urn: `urn:${name}`,
        serverId: `${name}-a`,
        controlPlane: { state: "active", activeSince: NOW - 5000 },
        consul: "passing",
        balancers: { "lb-0": "up", "lb-1": "up" },
        ...changes,
    };
}

/** Changes that make a slot's server gone for everybody, or lost although it exists. */
export const gone = {
    controlPlane: { state: "gone", detail: "no record of it" },
    consul: "critical",
    balancers: { "lb-0": "down", "lb-1": "down" },
} as const;
export const lost = { consul: "critical", balancers: { "lb-0": "down", "lb-1": "down" } } as const;

/** A pool in which everything is seen, with changes. */
export function observation(changes: Partial<Observation> = {}): Observation {
    return {
        version: 1,
        time: NOW,
        deployment: { seen: true },
        consul: { seen: true },
        controlPlane: { seen: true },
        slots: [slot(), slot({ slot: "gw-1" })],
        ...changes,
    };
}

/** What is remembered of a server that is healthy for long, with changes. */
export function remembered(name = "gw-0", changes: Partial<SlotMemory> = {}): SlotMemory {
    return { serverId: `${name}-a`, activeSince: NOW - 5000, passed: true, tries: [], ...changes };
}

/** A memory of the pool of {@link observation}, last observed ten seconds ago. */
export function memory(changes: Partial<Memory> = {}): Memory {
    return {
        ...emptyMemory,
        observedAt: NOW - 10,
        slots: { "gw-0": remembered("gw-0"), "gw-1": remembered("gw-1") },
        ...changes,
    };
}

export const action: Action = {
    kind: "replace",
    slot: "gw-0",
    urn: "urn:gw-0",
    serverId: "gw-0-a",
    evidence: "hard",
    reason: "gone",
};
