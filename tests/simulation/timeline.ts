/** Simulated time: a queue of what is to happen, and processes to which it happens unless they are stopped or dead. */
import type { Stopwatch } from "../../lib/clock";

interface Timer {
    readonly at: number;
    readonly order: number;
    readonly process?: Process | undefined;
    readonly happen: () => void;
    cancelled: boolean;
}

/** The time at which every simulation starts, in seconds since 1970. */
export const START = 1_000_000;

/** All that is going to happen, in order. Nothing in it depends on the real clock, so the same always happens again. */
export class Timeline {
    /** Seconds since 1970. */
    now = START;
    private readonly timers: Timer[] = [];
    private count = 0;

    /** Lets something happen after so many seconds; to a process only if it is alive then, and not before it goes on. */
    after(seconds: number, happen: () => void, process?: Process): () => void {
        const timer: Timer = { at: this.now + seconds, order: this.count++, process, happen, cancelled: false };
        this.timers.push(timer);
        return () => {
            timer.cancelled = true;
        };
    }

    /** Goes on until `over` says so, or nothing is left to happen. */
    async run(over: () => boolean): Promise<void> {
        while (!over()) {
            const timer = this.next();
            if (!timer) return;
            this.now = Math.max(this.now, timer.at);
            const { process } = timer;
            if (timer.cancelled || process?.alive === false) continue;
            if (process?.stopped) {
                process.missed.push(timer);
                continue;
            }
            timer.happen();
            // All that follows from it without waiting happens at this very moment.
            await new Promise(setImmediate);
        }
    }

    /** What a process missed while it was stopped happens now: in its order, or the other way round. */
    resume(process: Process, backwards = false): void {
        process.stopped = false;
        process.resumedAt = this.now;
        const missed = process.missed.splice(0);
        if (backwards) missed.reverse();
        for (const timer of missed) this.timers.push({ ...timer, at: this.now, order: this.count++ });
    }

    private next(): Timer | undefined {
        let first = -1;
        for (let at = 0; at < this.timers.length; at++) {
            const [timer, best] = [this.timers[at], this.timers[first]];
            if (!best || (timer && (timer.at < best.at || (timer.at === best.at && timer.order < best.order))))
                first = at;
        }
        return first < 0 ? undefined : this.timers.splice(first, 1)[0];
    }
}

/** A process: what waits in it goes on only while it is neither stopped nor dead. */
export class Process {
    alive = true;
    stopped = false;
    /** When it last went on after it was stopped; simulated time, seconds. */
    resumedAt = Number.NEGATIVE_INFINITY;
    readonly missed: Timer[] = [];

    constructor(
        readonly timeline: Timeline,
        readonly name: string,
    ) {}

    /** The clock as the process sees it. */
    readonly clock: Stopwatch = {
        now: () => this.timeline.now,
        elapsed: () => this.timeline.now - START,
        sleep: (seconds, signal) =>
            new Promise((resolve) => {
                if (signal.aborted) {
                    resolve();
                    return;
                }
                const wake = () => {
                    cancel();
                    signal.removeEventListener("abort", wake);
                    resolve();
                };
                const cancel = this.timeline.after(seconds, wake, this);
                signal.addEventListener("abort", wake);
            }),
    };

    /** Waits, whatever is aborted. */
    wait(seconds: number): Promise<void> {
        return new Promise((resolve) => {
            this.timeline.after(seconds, resolve, this);
        });
    }
}
