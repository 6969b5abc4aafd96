/**
 * Leadership: of several daemons, one acts as long as it holds a lock that it must renew.
 *
 * A lock cannot stop its former holder from acting, so the holder stops itself. It counts from when it *sent* the last
 * successful renewal, and stops well before another daemon can acquire the lock.
 */
import type { Stopwatch } from "../lib/clock";

/** Who holds the lock, for people. */
export interface Holder {
    /** Name of its machine. */
    readonly host: string;
    readonly pid: number;
}

/** A lock service, such as Consul. All methods throw when it cannot be reached. */
export interface Locks {
    /** Opens a session. It ends unless it is renewed within its time to live. */
    open(): Promise<string>;
    /** Renews the session; false when it no longer exists. */
    renew(session: string): Promise<boolean>;
    /**
     * Acquires the lock for the session. Succeeds also when the session already holds it.
     *
     * @returns the lock's epoch, which grows with each new holder; undefined when another session holds the lock.
     */
    acquire(session: string, holder: Holder): Promise<number | undefined>;
    /** Releases the lock, if the session holds it, and ends the session. */
    release(session: string): Promise<void>;
    /** Who holds the lock; undefined when nobody does. */
    holder(): Promise<(Holder & { readonly epoch: number }) | undefined>;
}

/** Times of a lease, in seconds. */
export interface LeaseTimes {
    /** The session's time to live. Consul waits up to twice as long before it ends the session. */
    readonly ttl: number;
    /** How long nobody can acquire the lock of a session that ended without releasing it. */
    readonly lockDelay: number;
    /** Time between two renewals, and between two tries to acquire the lock. */
    readonly renew: number;
    /** The holder stops itself this long after it sent the last successful renewal. */
    readonly stopAfter: number;
    /** Time from a failed renewal to the next. */
    readonly retry: number;
}

/**
 * TTL 15 s (Consul's minimum is 10 s) and lock-delay 15 s are the values in Consul's documentation. With a renewal every
 * 5 s one may be lost, and the holder stops itself 5 s before the earliest end of the session.
 */
export const leaseTimes: LeaseTimes = { ttl: 15, lockDelay: 15, renew: 5, stopAfter: 10, retry: 1 };

/** The right to act, while it holds. */
export interface Lease {
    /** The session that holds the lock. Writes to the store are bound to it. */
    readonly session: string;
    /** The fencing number, which grows with each new leader. */
    readonly epoch: number;
    /** Aborted when the lease is lost. Interrupt all actions then. */
    readonly lost: AbortSignal;
    /** Whether it holds at this moment. Relies on no timer, so the answer is right even after the process was suspended. */
    holds(): boolean;
    /** Ends the lease, for instance after a write was refused. */
    revoke(reason: string): void;
}

/** What happened to the leadership, for the journal. */
export type LeaseEvent =
    | { readonly kind: "standby"; readonly holder?: Holder & { readonly epoch: number } }
    | { readonly kind: "elected"; readonly epoch: number }
    | { readonly kind: "lost"; readonly epoch: number; readonly reason: string }
    | { readonly kind: "released"; readonly epoch: number }
    | { readonly kind: "error"; readonly message: string };

/** What {@link lead} works with. */
export interface LeadershipParts {
    readonly locks: Locks;
    readonly clock: Stopwatch;
    readonly holder: Holder;
    /** Ends the leadership: {@link lead} awaits the term's end and releases the lock. */
    readonly signal: AbortSignal;
    readonly times?: LeaseTimes;
    /** Receives every change, and the first of several equal errors. Must not throw. */
    readonly tell?: (event: LeaseEvent) => void;
    /** Receives the session before it can hold the lock, so that a successor on this machine can release it. */
    readonly onSession?: (session: string) => void;
}

/**
 * Runs `term` whenever this daemon is the leader. A term must end soon after its lease is lost, and must not throw.
 */
export async function lead(parts: LeadershipParts, term: (lease: Lease) => Promise<void>): Promise<void> {
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
                // The next term opens a new session, however this one ends.
                session = undefined;
                await serveTerm({ ...parts, times, tell }, id, epoch, since, term);
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

/** A moment by both clocks. One may notice what the other does not: a suspended machine, or a clock that was set. */
interface Moment {
    readonly now: number;
    readonly elapsed: number;
}

function momentOf(clock: Stopwatch): Moment {
    return { now: clock.now(), elapsed: clock.elapsed() };
}

/** Seconds since a moment, by the clock that shows more. */
function secondsSince(moment: Moment, clock: Stopwatch): number {
    return Math.max(clock.now() - moment.now, clock.elapsed() - moment.elapsed);
}

/** Runs one term, while renewing and watching its lease. */
async function serveTerm(
    { locks, clock, times, tell, signal }: LeadershipParts & { times: LeaseTimes; tell: (event: LeaseEvent) => void },
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
    const expired = () => revoke(`no renewal of the last ${times.stopAfter} s succeeded`);
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
                // Counted from when the renewal was sent, however long the answer took.
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
    // The term has ended, so another daemon may have the lock at once, even if it is uncertain who holds it.
    await locks.release(session).catch(() => undefined);
    if (!lost.signal.aborted) tell({ kind: "released", epoch });
    if (!signal.aborted) await clock.sleep(times.retry, signal);
}
