/** Plans the changes of HAProxy's slots from their state and the backends that should get calls. Pure. */
import { type Backend, backendKey } from "./backends";
import { type Slot, serves } from "./slots";

/** One change of a slot. */
export type Action =
    /** Puts a backend into a free slot. Unless it is `trusted`, it gets no connection before its checks have passed. */
    | { readonly kind: "admit"; readonly slot: string; readonly backend: Backend; readonly trusted: boolean }
    /** Lets a slot that was draining take new connections again. */
    | { readonly kind: "resume"; readonly slot: string }
    /** Stops new connections to a slot. */
    | { readonly kind: "drain"; readonly slot: string }
    /** Ends the remaining connections of a slot and frees it. */
    | { readonly kind: "close"; readonly slot: string }
    /** Ends the connections of a slot that is down: nobody waits for the answer of a dead server. */
    | { readonly kind: "cut"; readonly slot: string }
    /** Sets the most connections of a slot; 0 is unlimited. */
    | { readonly kind: "limit"; readonly slot: string; readonly connections: number };

/** What the reconciler remembers between two plans, also across restarts. */
export interface SlotMemory {
    /** Which backend (`address:port`) each slot (by name) holds. */
    readonly slots: Readonly<Record<string, string>>;
    /** When each draining slot (by name) began to drain, milliseconds since 1970. */
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
    /** Whether a backend that is down keeps its sessions. Default false. */
    readonly keepsSessions?: boolean;
}

/** Changes, and what remains after them. */
export interface Plan {
    readonly actions: readonly Action[];
    readonly memory: SlotMemory;
    /** Backends (`address:port`) that left the list and stay in service, because HAProxy finds most of the pool well. */
    readonly contradicted: readonly string[];
    /** Backends without a free slot. */
    readonly unplaced: readonly Backend[];
    /** Whether something is awaited: the end of sessions, or checks. */
    readonly pending: boolean;
}

/**
 * How long a backend that has left, but passes HAProxy's checks, stays under watch before its slot is freed, milliseconds. A
 * registry that loses the pool does so within the time that Serf takes to suspect and declare its members failed, which
 * is 10 to 15 s in a small cluster on a LAN (Consul's `gossip_lan`: probe interval 1 s, suspicion multiplier 4).
 */
const WATCH = 15_000;

/**
 * Plans the changes.
 *
 * The registry knows better than HAProxy when one backend leaves: a gateway that drains still passes a TCP check. It does
 * not when most of the pool leaves at once while HAProxy's own checks pass: agents that hang or are cut off look like
 * that, and to follow the list would put all calls on the few that are left. So if the backends that left but are well
 * outnumber those that are listed and serve, they stay in service, and those that began to drain return. A lone
 * backend that leaves is always believed.
 *
 * A backend keeps its slot. A backend that returns, or whose HAProxy was restarted, gets the slot that it had if that
 * is free. Backends without a slot take the free ones in order. As long as none of the wanted backends serves, those
 * that do are kept, except one if no slot is free.
 *
 * @param now milliseconds since 1970.
 * @param trusted backends (`address:port`) that HAProxy knew to be healthy just before its restart.
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

    // Which slots hold wanted backends. Of two slots with the same backend (which somebody else must have made), a
    // ready one.
    const holders = new Map<string, Slot>();
    const wantedKeys = new Set(wanted.map(backendKey));
    const occupied = slots.filter((slot) => slot.admin !== "maint");
    for (const slot of [...occupied].sort((a, b) => Number(b.admin === "ready") - Number(a.admin === "ready"))) {
        if (wantedKeys.has(slot.key) && !holders.has(slot.key)) holders.set(slot.key, slot);
    }

    const relieved = [...holders.values()].some(serves);
    const isWell = ({ health, checks }: Slot) =>
        (health === "up" || health === "starting") && checks >= settings.fullHealth;
    const departedWell = occupied.filter((slot) => isWell(slot) && !wantedKeys.has(slot.key));
    const listedServing = [...holders.values()].filter(serves).length;
    const leaving = occupied.filter((slot) => !serves(slot) && holders.get(slot.key) !== slot).length;
    const needsRoom = wanted.length > holders.size && slots.length === occupied.length;
    // Whether a slot must be freed for the first of them; the others then follow.
    let cramped = needsRoom && leaving === 0;
    const isContradicted = departedWell.length > 1 && departedWell.length > listedServing && !needsRoom;
    const kept = new Set(isContradicted ? departedWell : []);

    for (const slot of occupied) {
        if (holders.get(slot.key) === slot) {
            if (slot.admin === "ready") continue;
            // Either the backend returned while draining, or an earlier change was interrupted half-way, and its health
            // is only assumed. Its health is known if the last check passed, or if it is down and has to prove itself.
            if (slot.checks >= settings.fullHealth || slot.health === "down") {
                actions.push({ kind: "resume", slot: slot.name });
            } else pending = true;
        } else if (kept.has(slot)) {
            if (slot.admin !== "ready") actions.push({ kind: "resume", slot: slot.name });
        } else if (serves(slot) && !relieved && !cramped) {
            pending = true;
        } else if (slot.admin === "ready") {
            actions.push({ kind: "drain", slot: slot.name });
            cramped = false;
            draining[slot.name] = now;
            pending = true;
        } else {
            const since = Math.min(memory.draining[slot.name] ?? now, now);
            const age = now - since;
            const watched = isWell(slot) && age < WATCH && !needsRoom;
            if ((slot.sessions === 0 && !watched) || age >= settings.drainTimeout) {
                actions.push({ kind: "close", slot: slot.name });
            } else {
                draining[slot.name] = since;
                pending = true;
            }
        }
    }

    // During a slow start HAProxy also lowers the limit, to 1 in the first second. If no other server can take the
    // calls (the pool has just started, or a roll-out takes the next gateway) they would wait until they fail. So the
    // limit applies only once a server is fully up; until then only its weight is lowered.
    for (const slot of occupied) {
        const connections = slot.health === "up" ? settings.maxConnections : 0;
        if (slot.limit !== connections) actions.push({ kind: "limit", slot: slot.name, connections });
    }

    const closed = new Set(actions.filter(({ kind }) => kind === "close").map(({ slot }) => slot));
    for (const { name, health, sessions } of settings.keepsSessions ? [] : occupied) {
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
    const contradicted = [...kept].map(({ key }) => key);
    return { actions, memory: { slots: held, draining }, contradicted, unplaced, pending };
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
