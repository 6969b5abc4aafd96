/** What to change in HAProxy's slots, given how they are and which backends should get calls. Pure. */
import { type Backend, backendKey } from "./backends";
import { type Slot, serves } from "./slots";

/** One change of a slot. */
export type Action =
    /** Puts a backend into a free slot; it gets no connection before its checks have passed, unless it is `trusted`. */
    | { readonly kind: "admit"; readonly slot: string; readonly backend: Backend; readonly trusted: boolean }
    /** Lets a slot that was draining take new connections again. */
    | { readonly kind: "resume"; readonly slot: string }
    /** Stops new connections to a slot. */
    | { readonly kind: "drain"; readonly slot: string }
    /** Ends what is left of a slot's connections and frees it. */
    | { readonly kind: "close"; readonly slot: string }
    /** Ends the connections of a slot that is down: nobody waits for the answer of a dead server. */
    | { readonly kind: "cut"; readonly slot: string }
    /** Sets how many connections a slot may have at a time; 0 is without limit. */
    | { readonly kind: "limit"; readonly slot: string; readonly connections: number };

/** What the reconciler has to remember between two plans, also across restarts. */
export interface SlotMemory {
    /** Which backend (`address:port`) each slot (by name) holds. */
    readonly slots: Readonly<Record<string, string>>;
    /** Since when each draining slot (by name) drains, milliseconds since 1970. */
    readonly draining: Readonly<Record<string, number>>;
}

/** The parts of the settings that the plan depends on. */
export interface PlanSettings {
    /** Longest time that a slot drains, milliseconds. */
    readonly drainTimeout: number;
    /** Check counter of a server whose last check passed. */
    readonly fullHealth: number;
    /** Connections that one backend may have at a time. */
    readonly maxConnections: number;
}

/** Changes, and what they leave. */
export interface Plan {
    readonly actions: readonly Action[];
    readonly memory: SlotMemory;
    /** Backends for which there is no free slot. */
    readonly unplaced: readonly Backend[];
    /** Whether there is something to wait for: sessions to end, or checks. */
    readonly pending: boolean;
}

/**
 * Plans the changes.
 *
 * A backend keeps the slot it is in, and one that comes back, or whose HAProxy was restarted, gets the slot that it had,
 * if that is free. Backends without a slot take the free ones in order. As long as none of the wanted ones serves, those
 * that do are kept, except for one where no slot is free.
 *
 * @param now milliseconds since 1970.
 * @param trusted backends (`address:port`) that HAProxy, before it was restarted just now, knew to be healthy.
 */
export function plan(
    slots: readonly Slot[],
    wanted: readonly Backend[],
    memory: SlotMemory,
    now: number,
    settings: PlanSettings,
    trusted: ReadonlySet<string> = new Set(),
): Plan {
    const actions: Action[] = [];
    const draining: Record<string, number> = {};
    let pending = false;

    // Who holds what is wanted: of two slots with the same backend (which others must have made), one that is ready.
    const holders = new Map<string, Slot>();
    const wantedKeys = new Set(wanted.map(backendKey));
    const occupied = slots.filter((slot) => slot.admin !== "maint");
    for (const slot of [...occupied].sort((a, b) => Number(b.admin === "ready") - Number(a.admin === "ready"))) {
        if (wantedKeys.has(slot.key) && !holders.has(slot.key)) holders.set(slot.key, slot);
    }

    const relieved = [...holders.values()].some(serves);
    const leaving = occupied.filter((slot) => !serves(slot) && holders.get(slot.key) !== slot).length;
    // Whether a slot has to be made free for the first of them; the others then follow.
    let cramped = wanted.length > holders.size && slots.length === occupied.length && leaving === 0;

    for (const slot of occupied) {
        if (holders.get(slot.key) === slot) {
            if (slot.admin === "ready") continue;
            // Either it came back while draining, or putting it in was interrupted half-way: then its health may be
            // a mere assumption. It is known when the last check passed, or when it is down and so has to prove itself.
            if (slot.checks >= settings.fullHealth || slot.health === "down") {
                actions.push({ kind: "resume", slot: slot.name });
            } else pending = true;
        } else if (serves(slot) && !relieved && !cramped) {
            pending = true;
        } else if (slot.admin === "ready") {
            actions.push({ kind: "drain", slot: slot.name });
            cramped = false;
            draining[slot.name] = now;
            pending = true;
        } else {
            const since = Math.min(memory.draining[slot.name] ?? now, now);
            if (slot.sessions === 0 || now - since >= settings.drainTimeout) {
                actions.push({ kind: "close", slot: slot.name });
            } else {
                draining[slot.name] = since;
                pending = true;
            }
        }
    }

    // During a slow start HAProxy lowers the limit too, to 1 in the first second. When there is nobody else to take the
    // calls (the pool has just started, or the next gateway of a roll-out is taken out) they would wait until they fail.
    // So a server has its limit only once it is fully up; until then its slow start goes by its weight alone.
    for (const slot of occupied) {
        const connections = slot.health === "up" ? settings.maxConnections : 0;
        if (slot.limit !== connections) actions.push({ kind: "limit", slot: slot.name, connections });
    }

    const closed = new Set(actions.filter(({ kind }) => kind === "close").map(({ slot }) => slot));
    for (const { name, health, sessions } of occupied) {
        if (health === "down" && sessions > 0 && !closed.has(name)) actions.push({ kind: "cut", slot: name });
    }

    const held: Record<string, string> = {};
    for (const [key, slot] of holders) held[slot.name] = key;
    const { placed, unplaced } = place(
        wanted.filter((backend) => !holders.has(backendKey(backend))),
        slots.filter((slot) => slot.admin === "maint"),
        memory.slots,
    );
    for (const { slot, backend } of placed) {
        const key = backendKey(backend);
        actions.push({ kind: "admit", slot, backend, trusted: trusted.has(key) });
        held[slot] = key;
    }
    return { actions, memory: { slots: held, draining }, unplaced, pending };
}

/** Finds a free slot for each backend: the one that it had, else the first that no other backend of the list had. */
function place(backends: readonly Backend[], free: readonly Slot[], remembered: SlotMemory["slots"]) {
    const left = new Map(free.map((slot) => [slot.name, slot]));
    const placed: { slot: string; backend: Backend }[] = [];
    const put = (slot: string, backend: Backend) => {
        left.delete(slot);
        placed.push({ slot, backend });
    };
    const homeless = backends.filter((backend) => {
        const key = backendKey(backend);
        const had =
            free.find((slot) => left.has(slot.name) && remembered[slot.name] === key) ??
            free.find((slot) => left.has(slot.name) && slot.key === key);
        if (had) put(had.name, backend);
        return !had;
    });
    const unplaced = homeless.filter((backend) => {
        const [first] = left.keys();
        if (first) put(first, backend);
        return first === undefined;
    });
    return { placed, unplaced };
}
