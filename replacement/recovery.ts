/**
 * What earlier runs have left behind, and what is to be done about it: engines that still run, locks of dead ones,
 * servers that were being created, servers and parts of them that nobody knows. Deciding is pure, as in `decide`.
 */
import type { PendingCreate, Slot } from "./engine";
import type { Memory } from "./memory";
import type { ReplacementPolicy } from "./policy";

/** A lock on the deployment's state. */
export interface StackLock {
    readonly id: string;
    /** Who has it, as far as it says. */
    readonly host: string;
    readonly pid: number;
    /** Whether its owner runs. Of one on another machine that cannot be told. */
    readonly owner: "dead" | "alive" | "elsewhere";
}

/** A server of this deployment at the control plane, found by its metadata. */
export interface FoundServer {
    readonly id: string;
    readonly slot: string;
    /** The leader's that had it made; 0 when none had. */
    readonly epoch: number;
    /** Seconds since 1970. */
    readonly createdAt?: number;
    /** Id of its resource in the deployment's state, where that is not the server's own. */
    readonly resourceId?: string;
}

/** A port or volume of this deployment that belongs to no server, and that the deployment's state does not know. */
export interface LoosePart {
    readonly kind: "port" | "volume";
    readonly id: string;
}

/** All that one search found. */
export interface Leftovers {
    /** Processes of the engine on this machine that no living daemon has started. */
    readonly engines: readonly { readonly pid: number }[];
    readonly locks: readonly StackLock[];
    readonly pending: readonly PendingCreate[];
    /** The slots according to the deployment's state. */
    readonly wanted: readonly Slot[];
    /** Every server of the deployment; undefined where the control plane cannot list them. */
    readonly servers?: readonly FoundServer[];
    readonly parts: readonly LoosePart[];
}

/** Something to do about leftovers. */
export type Step =
    | { readonly kind: "killEngine"; readonly reason: string }
    | { readonly kind: "removeLock"; readonly lock: StackLock; readonly reason: string }
    | {
          readonly kind: "adopt";
          readonly urn: string;
          readonly slot: string;
          /** Its resource's id. */
          readonly serverId: string;
          readonly reason: string;
      }
    | { readonly kind: "clearPending"; readonly urn: string; readonly reason: string }
    | { readonly kind: "deleteServer"; readonly server: FoundServer; readonly reason: string }
    | { readonly kind: "deletePart"; readonly part: LoosePart; readonly reason: string };

/** What to do, in this order. */
export interface RecoveryPlan {
    readonly steps: readonly Step[];
    /** Why nothing may be replaced before the next search; undefined when it may. */
    readonly unsettled?: string;
    /** When each leftover was seen first, to be remembered. */
    readonly sightings: Readonly<Record<string, number>>;
}

/**
 * A lock of the loop's own predecessor on another machine counts as dead when it was seen for the longest time that a
 * replacement may take, and this much more: by then its daemon has stopped itself, or its machine is gone.
 */
const PREDECESSOR_SECONDS = 60;

/**
 * Plans. What is deleted was seen at least twice, so far apart as the policy says, and is not of a later epoch than
 * one's own.
 */
export function planRecovery(
    found: Leftovers,
    memory: Memory,
    now: { readonly time: number; readonly epoch: number },
    policy: ReplacementPolicy,
): RecoveryPlan {
    const sightings = new Map<string, number>();
    /** For how long it has been seen; 0 the first time. */
    const seenFor = (what: string) => {
        const first = Math.min(memory.sightings?.[what] ?? now.time, now.time);
        sightings.set(what, first);
        return now.time - first;
    };
    if (found.engines.length > 0) {
        const pids = found.engines.map(({ pid }) => pid).join(", ");
        const reason = `an engine runs whose daemon is dead: ${pids}`;
        return { steps: [{ kind: "killEngine", reason }], unsettled: reason, sightings: {} };
    }
    const locked = planLocks(found, memory, now.epoch, seenFor, policy);
    const pending = planPending(found, seenFor, policy);
    const surplus = planServers(found, memory, now.epoch, seenFor, policy);
    const parts = found.parts
        .filter(({ kind, id }) => seenFor(`${kind} ${id}`) >= policy.orphanSeconds)
        .map((part): Step => ({ kind: "deletePart", part, reason: `${part.kind} ${part.id} belongs to no server` }));
    const unsettled = [locked.unsettled, pending.unsettled, surplus.unsettled].filter((why) => why !== undefined);
    return {
        // As long as somebody may be at work on the state, nothing else is touched.
        steps: locked.unsettled === undefined ? [...pending.steps, ...surplus.steps, ...parts] : locked.steps,
        ...(unsettled.length > 0 ? { unsettled: unsettled.join("; ") } : {}),
        sightings: Object.fromEntries(sightings),
    };
}

interface Part {
    readonly steps: readonly Step[];
    readonly unsettled?: string;
}

/** A dead owner's lock is removed, a living one's never; one elsewhere only when it is the loop's own predecessor's. */
function planLocks(
    { locks }: Leftovers,
    { author }: Memory,
    epoch: number,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): Part {
    const steps: Step[] = [];
    const reasons: string[] = [];
    for (const lock of locks) {
        const age = seenFor(`lock ${lock.id}`);
        const whose = `process ${lock.pid} on ${lock.host}`;
        if (lock.owner === "dead") {
            steps.push({ kind: "removeLock", lock, reason: `${whose}, which locked the stack, is dead` });
        } else if (lock.owner === "elsewhere" && author?.host === lock.host && author.epoch < epoch) {
            const reason = `the leader of epoch ${author.epoch} (${whose}) locked the stack and has lost its lease`;
            if (age >= policy.stuckSeconds + PREDECESSOR_SECONDS) steps.push({ kind: "removeLock", lock, reason });
        } else if (lock.owner === "elsewhere") {
            reasons.push(`the stack is locked by ${whose}; if no run is alive there, remove the lock: pulumi cancel`);
            continue;
        }
        reasons.push(`the stack is locked by ${whose}`);
    }
    return { steps, ...(reasons.length > 0 ? { unsettled: reasons.join("; ") } : {}) };
}

/** Servers that were being created are adopted when they are there, and forgotten when they are not, seen twice. */
function planPending(
    { pending, servers = [], wanted }: Leftovers,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): Part {
    const steps: Step[] = [];
    const slots = pending.flatMap(({ urn, slot }) => (slot === undefined ? [] : [{ urn, slot }]));
    for (const { urn, slot } of slots) {
        const candidate = latest(servers.filter((server) => server.slot === slot && !isWanted(server, wanted)));
        if (candidate) {
            const reason = `${slot}: ${candidate.id} was created, and its creation not written down`;
            steps.push({ kind: "adopt", urn, slot, serverId: resourceOf(candidate), reason });
        } else if (seenFor(`pending ${urn}`) >= policy.duplicateSeconds) {
            steps.push({ kind: "clearPending", urn, reason: `${slot}: a server was being created, and there is none` });
        }
    }
    const names = slots.map(({ slot }) => slot).join(", ");
    return { steps, ...(slots.length > 0 ? { unsettled: `the creation of ${names} was cut off` } : {}) };
}

/** Of several servers in a slot the deployment's stays; where it has none that exists, the latest becomes it. */
function planServers(
    { servers = [], wanted, pending }: Leftovers,
    { inFlight }: Memory,
    epoch: number,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): Part {
    const steps: Step[] = [];
    const waiting: string[] = [];
    const surplus = servers.filter((server) => !isWanted(server, wanted));
    for (const server of surplus) {
        const slot = wanted.find(({ name }) => name === server.slot);
        const present = servers.some(({ id }) => id === slot?.serverId);
        const cutOff = pending.some((create) => create.slot === server.slot);
        const age = seenFor(`server ${server.id}`);
        // A later leader's server is its own to judge, and what is being settled is not judged yet.
        if (server.epoch > epoch || cutOff) continue;
        if (slot && !present) {
            if (server !== latest(surplus.filter((other) => other.slot === server.slot))) continue;
            waiting.push(`${server.slot} may have a server that its deployment does not know: ${server.id}`);
            if (age < policy.duplicateSeconds) continue;
            const reason = `${server.slot}: the deployment's server is gone, and ${server.id} is there instead`;
            steps.push({ kind: "adopt", urn: slot.urn, slot: server.slot, serverId: resourceOf(server), reason });
        } else if (age >= (slot ? policy.duplicateSeconds : policy.orphanSeconds)) {
            const known = slot ? `${slot.serverId} is the deployment's` : "the deployment has no such slot";
            const reason = `${server.slot}: ${server.id} (epoch ${server.epoch}) is one too many: ${known}`;
            if (inFlight?.slot !== server.slot || inFlight.finishedAt !== undefined || inFlight.epoch !== epoch) {
                steps.push({ kind: "deleteServer", server, reason });
            }
        }
    }
    return { steps, ...(waiting.length > 0 ? { unsettled: waiting.join("; ") } : {}) };
}

function resourceOf({ id, resourceId = id }: FoundServer): string {
    return resourceId;
}

function isWanted({ id }: FoundServer, wanted: readonly Slot[]): boolean {
    return wanted.some(({ serverId }) => serverId === id);
}

/** Of several servers the one of the latest leader, and of these the youngest. */
function latest(servers: readonly FoundServer[]): FoundServer | undefined {
    return [...servers].sort((a, b) => b.epoch - a.epoch || (b.createdAt ?? 0) - (a.createdAt ?? 0))[0];
}

/** Searches for leftovers, and does what was decided about them. Steps are safe to repeat. */
export interface Janitor {
    /** @throws Error when something cannot be looked at: then nothing is settled. */
    search(signal: AbortSignal): Promise<Leftovers>;
    /** @throws Error when it could not be done. */
    carryOut(step: Step, signal: AbortSignal): Promise<void>;
}
