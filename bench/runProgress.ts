/** Progress of a run, and an estimate of the time left. */
import type { Cell, Trial, TrialBlock } from "./trialMatrix";

/** Durations of trials on two cores, seconds: rough values for the start of a run. */
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

/** Expected duration of a trial, seconds. */
export function expectedSeconds({ cell }: Trial): number {
    return cell.kind === "fault" ? (EXPECTED_FAULTS[cell.fault] ?? EXPECTED_FAULT) : EXPECTED[cell.kind];
}

/** Counts trials. The estimate of the time left improves with each finished trial. */
export class RunProgress {
    private finished = 0;
    private took = 0;
    private expected = 0;
    private rest: number;
    private readonly count: number;

    constructor(blocks: readonly TrialBlock[]) {
        const trials = blocks.flatMap((block) => block.trials);
        this.count = trials.length;
        this.rest = trials.reduce((seconds, trial) => seconds + expectedSeconds(trial), 0);
    }

    /** Number of trials left. */
    get left(): number {
        return this.count - this.finished;
    }

    /** Records that a trial took `seconds`. */
    done(trial: Trial, seconds: number): void {
        this.finished += 1;
        this.took += seconds;
        this.expected += expectedSeconds(trial);
        this.rest -= expectedSeconds(trial);
    }

    /** The time left, in words. */
    timeLeft(): string {
        const seconds = this.rest * (this.expected > 0 ? this.took / this.expected : 1);
        if (seconds < 90) return `${Math.round(seconds)} s`;
        const minutes = Math.round(seconds / 60);
        return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
    }

    /** The prefix of each printed result. */
    line(): string {
        return `[${this.finished}/${this.count}, ${this.timeLeft()} left]`;
    }
}
