/**
 * Decides what to do about leftovers of earlier runs: engines that still run, locks of dead ones, creations that were
 * cut off, and orphans. Pure, as `decide` is.
 */
import type { StackLock } from "../../engine/stateLocks";
import type { Memory } from "./loopMemory";
import type { ReplacementPolicy } from "./policy";
import type { PendingCreate, Slot } from "./pool";

/** A server of this deployment, found at the control plane by its metadata. */
export interface FoundServer {
    readonly id: string;
    readonly slot: string;
    /** Epoch of the leader that created it; 0 when no leader did. */
    readonly epoch: number;
    /** Seconds since 1970. */
    readonly createdAt?: number;
    /** Id of its resource in the deployment's state, where it differs from `id`. */
    readonly resourceId?: string;
}

/** An orphaned port or volume: it belongs to no server, and the deployment's state does not know it. */
export interface LoosePart {
    readonly kind: "port" | "volume";
    readonly id: string;
}

/** What one search found. */
export interface Leftovers {
    /** Processes of the engine on this machine whose daemon is dead. */
    readonly engines: readonly { readonly pid: number }[];
    readonly locks: readonly StackLock[];
    readonly pending: readonly PendingCreate[];
    /** The slots according to the deployment's state. */
    readonly wanted: readonly Slot[];
    /** All servers of the deployment; undefined where the control plane cannot list them. */
    readonly servers?: readonly FoundServer[];
    readonly parts: readonly LoosePart[];
}

/** One step of the orphan clean-up. */
export type Step =
    | { readonly kind: "killEngine"; readonly reason: string }
    | { readonly kind: "removeLock"; readonly lock: StackLock; readonly reason: string }
    | {
          readonly kind: "adopt";
          readonly urn: string;
          readonly slot: string;
          /** The resource's id. */
          readonly serverId: string;
          readonly reason: string;
      }
    | { readonly kind: "clearPending"; readonly urn: string; readonly reason: string }
    | { readonly kind: "deleteServer"; readonly server: FoundServer; readonly reason: string }
    | { readonly kind: "deletePart"; readonly part: LoosePart; readonly reason: string };

/** What to do, in order. */
export interface RecoveryPlan {
    readonly steps: readonly Step[];
    /** Why the loop must not replace anything before the next search; undefined when it may. */
    readonly unsettled?: string;
    /** When each leftover was first seen, for the memory. */
    readonly sightings: Readonly<Record<string, number>>;
}

/**
 * A lock of the previous leader on another machine counts as dead after the longest time that a replacement may take,
 * plus this margin. By then its daemon has stopped, or its machine is gone.
 */
const PREDECESSOR_SECONDS = 60;

/**
 * Plans the clean-up. It deletes only what was seen at least twice, as far apart as the policy says, and never a server
 * of a later epoch.
 */
export function planRecovery(
    found: Leftovers,
    memory: Memory,
    now: { readonly time: number; readonly epoch: number },
    policy: ReplacementPolicy,
): RecoveryPlan {
    const sightings = new Map<string, number>();
    /** Seconds since it was first seen; 0 the first time. */
    const seenFor = (what: string) => {
        const first = Math.min(memory.sightings?.[what] ?? now.time, now.time);
        sightings.set(what, first);
        return now.time - first;
    };
    if (found.engines.length > 0) {
        const pids = found.engines.map(({ pid }) => pid).join(", ");
        const reason = `an engine still runs although its daemon is dead: ${pids}`;
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
        // While somebody may be changing the state, nothing else is touched.
        steps: locked.unsettled === undefined ? [...pending.steps, ...surplus.steps, ...parts] : locked.steps,
        ...(unsettled.length > 0 ? { unsettled: unsettled.join("; ") } : {}),
        sightings: Object.fromEntries(sightings),
    };
}

interface PartialPlan {
    readonly steps: readonly Step[];
    readonly unsettled?: string;
}

/** Removes the lock of a dead owner, never that of a living one. On other machines only the previous leader's counts as dead. */
function planLocks(
    { locks }: Leftovers,
    { author }: Memory,
    epoch: number,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): PartialPlan {
    const steps: Step[] = [];
    const reasons: string[] = [];
    for (const lock of locks) {
        const age = seenFor(`lock ${lock.id}`);
        const whose = `process ${lock.pid} on ${lock.host}`;
        if (lock.owner === "dead") {
            steps.push({ kind: "removeLock", lock, reason: `${whose} locked the stack and is dead` });
        } else if (lock.owner === "elsewhere" && author?.host === lock.host && author.epoch < epoch) {
            const reason = `the leader of epoch ${author.epoch} (${whose}) locked the stack and has lost its lease`;
            if (age >= policy.stuckSeconds + PREDECESSOR_SECONDS) steps.push({ kind: "removeLock", lock, reason });
        } else if (lock.owner === "elsewhere") {
            reasons.push(`${whose} holds the stack's lock; if no run is alive there, remove the lock: pulumi cancel`);
            continue;
        }
        reasons.push(`${whose} holds the stack's lock`);
    }
    return { steps, ...(reasons.length > 0 ? { unsettled: reasons.join("; ") } : {}) };
}

/** Adopts servers whose creation was cut off, and forgets creations that, seen twice, left no server. */
function planPending(
    { pending, servers = [], wanted }: Leftovers,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): PartialPlan {
    const steps: Step[] = [];
    const slots = pending.flatMap(({ urn, slot }) => (slot === undefined ? [] : [{ urn, slot }]));
    for (const { urn, slot } of slots) {
        const candidate = latest(servers.filter((server) => server.slot === slot && !isWanted(server, wanted)));
        if (candidate) {
            const reason = `${slot}: ${candidate.id} was created, but the state does not record it`;
            steps.push({ kind: "adopt", urn, slot, serverId: resourceOf(candidate), reason });
        } else if (seenFor(`pending ${urn}`) >= policy.duplicateSeconds) {
            steps.push({ kind: "clearPending", urn, reason: `${slot}: the creation that was cut off left no server` });
        }
    }
    const names = slots.map(({ slot }) => slot).join(", ");
    return { steps, ...(slots.length > 0 ? { unsettled: `the creation of ${names} was cut off` } : {}) };
}

/** Of several servers in a slot, keeps the deployment's. If that one does not exist, adopts the latest. */
function planServers(
    { servers = [], wanted, pending }: Leftovers,
    { inFlight }: Memory,
    epoch: number,
    seenFor: (what: string) => number,
    policy: ReplacementPolicy,
): PartialPlan {
    const steps: Step[] = [];
    const waiting: string[] = [];
    const surplus = servers.filter((server) => !isWanted(server, wanted));
    for (const server of surplus) {
        const slot = wanted.find(({ name }) => name === server.slot);
        const present = servers.some(({ id }) => id === slot?.serverId);
        const cutOff = pending.some((create) => create.slot === server.slot);
        const age = seenFor(`server ${server.id}`);
        // A later leader judges its own servers, and a creation that was cut off is settled first.
        if (server.epoch > epoch || cutOff) continue;
        if (slot && !present) {
            if (server !== latest(surplus.filter((other) => other.slot === server.slot))) continue;
            waiting.push(`${server.slot} may have a server that the deployment does not know: ${server.id}`);
            if (age < policy.duplicateSeconds) continue;
            const reason = `${server.slot}: the deployment's server is gone, and ${server.id} takes its place`;
            steps.push({ kind: "adopt", urn: slot.urn, slot: server.slot, serverId: resourceOf(server), reason });
        } else if (age >= (slot ? policy.duplicateSeconds : policy.orphanSeconds)) {
            const known = slot ? `${slot.serverId} is the deployment's` : "the deployment has no such slot";
            const reason = `${server.slot}: ${server.id} (epoch ${server.epoch}) is surplus: ${known}`;
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

/** The server of the latest leader; of several, the youngest. */
function latest(servers: readonly FoundServer[]): FoundServer | undefined {
    return [...servers].sort((a, b) => b.epoch - a.epoch || (b.createdAt ?? 0) - (a.createdAt ?? 0))[0];
}

/** Searches for leftovers and carries out what was decided about them. Steps are safe to repeat. */
export interface OrphanCleanup {
    /** @throws Error when a part of the search fails. Then nothing counts as settled. */
    search(signal: AbortSignal): Promise<Leftovers>;
    /** @throws Error when the step fails. */
    carryOut(step: Step, signal: AbortSignal): Promise<void>;
}
