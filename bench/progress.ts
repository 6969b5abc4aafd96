/** How far a run is, and how long the rest takes. */
import type { Block, Cell, Trial } from "./matrix";

/** How long trials take on two cores, seconds: known well enough to begin with. */
const EXPECTED: Readonly<Record<Exclude<Cell["kind"], "fault">, number>> = { saturation: 8, latency: 8, pool: 25 };
const EXPECTED_FAULTS: Readonly<Record<string, number>> = {
    "route-changes": 68,
    "host-loss": 24,
    "rolling-restart": 30,
    scale: 28,
    "registry-stop": 18,
    "registry-empty": 16,
};
const EXPECTED_FAULT = 16;

/** How long a trial is expected to take, seconds. */
export function estimate({ cell }: Trial): number {
    return cell.kind === "fault" ? (EXPECTED_FAULTS[cell.fault] ?? EXPECTED_FAULT) : EXPECTED[cell.kind];
}

/** Counts trials. Estimates of the rest get better by what was done. */
export class Progress {
    private finished = 0;
    private took = 0;
    private expected = 0;
    private rest: number;
    private readonly count: number;

    constructor(blocks: readonly Block[]) {
        const trials = blocks.flatMap((block) => block.trials);
        this.count = trials.length;
        this.rest = trials.reduce((seconds, trial) => seconds + estimate(trial), 0);
    }

    /** How many trials are left. */
    get left(): number {
        return this.count - this.finished;
    }

    /** A trial is done, in so many seconds. */
    done(trial: Trial, seconds: number): void {
        this.finished += 1;
        this.took += seconds;
        this.expected += estimate(trial);
        this.rest -= estimate(trial);
    }

    /** The time left, in words. */
    timeLeft(): string {
        const seconds = this.rest * (this.expected > 0 ? this.took / this.expected : 1);
        if (seconds < 90) return `${Math.round(seconds)} s`;
        const minutes = Math.round(seconds / 60);
        return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
    }

    /** What is shown before each result. */
    line(): string {
        return `[${this.finished}/${this.count}, ${this.timeLeft()} left]`;
    }
}
