/**
 * Leadership: of several daemons one acts, for as long as it holds a lock that has to be renewed.
 *
 * A lock cannot keep its holder from acting once it is lost, so the holder keeps itself from it: it counts from when the
 * last renewal that succeeded was *sent*, and stops itself well before anybody else can have the lock.
 */
import type { Stopwatch } from "./clock";

/** Who holds the lock, for people. */
export interface Holder {
    /** Name of its machine. */
    readonly host: string;
    readonly pid: number;
}

/** A lock service, such as Consul. All of these throw when it cannot be reached. */
export interface Locks {
    /** Opens a session, which ends when it is not renewed for its time to live. */
    open(): Promise<string>;
    /** Whether the session still exists; then it lives on. */
    renew(session: string): Promise<boolean>;
    /**
     * Takes the lock for the session, or finds that the session has it.
     *
     * @returns the lock's epoch, which is greater for every new holder; undefined when another one has the lock.
     */
    acquire(session: string, holder: Holder): Promise<number | undefined>;
    /** Gives the lock back, if the session has it, and ends the session. */
    release(session: string): Promise<void>;
    /** Who has the lock; undefined when nobody has. */
    holder(): Promise<(Holder & { readonly epoch: number }) | undefined>;
}

/** Times of a lease, in seconds. */
export interface LeaseTimes {
    /** The session's time to live. Consul waits up to twice as long before it ends the session. */
    readonly ttl: number;
    /** How long nobody gets the lock of a session that ended without giving it back. */
    readonly lockDelay: number;
    /** From one renewal to the next, and from one try to get the lock to the next. */
    readonly renew: number;
    /** The holder stops itself so long after its last renewal that succeeded was sent. */
    readonly stopAfter: number;
    /** From one renewal that failed to the next. */
    readonly retry: number;
}

/**
 * TTL 15 s (Consul's shortest is 10 s) and lock-delay 15 s are what Consul's own documentation takes. With a renewal
 * every 5 s one may be lost, and 5 s are left between stopping oneself and the earliest end of the session.
 */
export const leaseTimes: LeaseTimes = { ttl: 15, lockDelay: 15, renew: 5, stopAfter: 10, retry: 1 };

/** The right to act, as long as it holds. */
export interface Lease {
    /** The session that holds the lock: what a write to the store is bound to. */
    readonly session: string;
    /** The fencing number: greater for every new leader. */
    readonly epoch: number;
    /** Aborted when the lease does not hold any more; whatever acts is to be interrupted then. */
    readonly lost: AbortSignal;
    /** Whether it holds at this very moment. Asks no timer, so it is right even in a process that was stopped. */
    holds(): boolean;
    /** Says that it does not hold, because the lock service said so otherwise. */
    revoke(reason: string): void;
}

/** What happened to the leadership, for the journal. */
export type LeaseEvent =
    | { readonly kind: "standby"; readonly holder?: Holder & { readonly epoch: number } }
    | { readonly kind: "elected"; readonly epoch: number }
    | { readonly kind: "lost"; readonly epoch: number; readonly reason: string }
    | { readonly kind: "released"; readonly epoch: number }
    | { readonly kind: "error"; readonly message: string };

/** What {@link lead} needs. */
export interface ElectorParts {
    readonly locks: Locks;
    readonly clock: Stopwatch;
    readonly holder: Holder;
    /** Ends it: the term's end is awaited, and the lock given back. */
    readonly signal: AbortSignal;
    readonly times?: LeaseTimes;
    /** Told of every change, and of the first of equal errors. Must not throw. */
    readonly tell?: (event: LeaseEvent) => void;
    /** Told of the session, before it can hold the lock, so that a successor on this machine can give it back. */
    readonly onSession?: (session: string) => void;
}

/**
 * Runs `term` whenever this daemon is the leader. A term has to end soon after its lease is lost; it must not throw.
 */
export async function lead(parts: ElectorParts, term: (lease: Lease) => Promise<void>): Promise<void> {
    const { locks, clock, holder, signal, times = leaseTimes, tell = () => undefined, onSession } = parts;
    let session: { readonly id: string; readonly sentAt: Moment } | undefined;
    let told = "";
    const tellOnce = (event: LeaseEvent) => {
        const text = JSON.stringify(event);
        if (text !== told) tell(event);
        told = text;
    };
    while (!signal.aborted) {
        try {
            const sentAt = momentOf(clock);
            if (!session) {
                session = { id: await locks.open(), sentAt };
                onSession?.(session.id);
            } else if (await locks.renew(session.id)) session = { id: session.id, sentAt };
            else session = undefined;
            const epoch = session && (await locks.acquire(session.id, holder));
            if (session && epoch !== undefined) {
                told = "";
                const { id, sentAt: since } = session;
                // Whatever comes of it, the next term has a session of its own.
                session = undefined;
                await serve({ ...parts, times, tell }, id, epoch, since, term);
                continue;
            }
            const other = await locks.holder();
            tellOnce({ kind: "standby", ...(other ? { holder: other } : {}) });
        } catch (error) {
            tellOnce({ kind: "error", message: (error as Error).message });
        }
        if (!signal.aborted) await clock.sleep(session ? times.renew : times.retry, signal);
    }
    if (session) await locks.release(session.id).catch(() => undefined);
}

/** A moment by both clocks: what one of them does not notice (a suspended machine, a clock set) the other may. */
interface Moment {
    readonly now: number;
    readonly elapsed: number;
}

function momentOf(clock: Stopwatch): Moment {
    return { now: clock.now(), elapsed: clock.elapsed() };
}

/** Seconds since a moment, by the clock that says more. */
function secondsSince(moment: Moment, clock: Stopwatch): number {
    return Math.max(clock.now() - moment.now, clock.elapsed() - moment.elapsed);
}

/** One term: the lease is renewed beside it, and watched. */
async function serve(
    { locks, clock, times, tell, signal }: ElectorParts & { times: LeaseTimes; tell: (event: LeaseEvent) => void },
    session: string,
    epoch: number,
    since: Moment,
    term: (lease: Lease) => Promise<void>,
): Promise<void> {
    let sentAt = since;
    const lost = new AbortController();
    const ended = new AbortController();
    const revoke = (reason: string) => {
        if (lost.signal.aborted || ended.signal.aborted) return;
        tell({ kind: "lost", epoch, reason });
        lost.abort(new Error(reason));
    };
    const left = () => times.stopAfter - secondsSince(sentAt, clock);
    const expired = () => revoke(`no renewal succeeded that was sent in the last ${times.stopAfter} s`);
    const lease: Lease = {
        session,
        epoch,
        lost: lost.signal,
        holds() {
            if (left() <= 0) expired();
            return !lost.signal.aborted;
        },
        revoke,
    };
    const over = AbortSignal.any([lost.signal, ended.signal]);

    const renewing = async () => {
        let pause = Math.max(0, times.renew - secondsSince(sentAt, clock));
        while (!over.aborted) {
            await clock.sleep(pause, over);
            if (over.aborted) return;
            const moment = momentOf(clock);
            try {
                if (await locks.renew(session)) sentAt = moment;
                else revoke("the session has ended");
                // From sending to sending, however long an answer takes.
                pause = Math.max(0, times.renew - secondsSince(moment, clock));
            } catch {
                pause = times.retry;
            }
        }
    };
    const watching = async () => {
        while (!over.aborted && lease.holds()) await clock.sleep(Math.max(left(), 0.001), over);
    };
    if (lease.holds()) {
        tell({ kind: "elected", epoch });
        void renewing();
        void watching();
        await term(lease);
    }
    ended.abort();
    // What acted has ended, so the lock may go to another one at once, even when it is in doubt who has it.
    await locks.release(session).catch(() => undefined);
    if (!lost.signal.aborted) tell({ kind: "released", epoch });
    if (!signal.aborted) await clock.sleep(times.retry, signal);
}
