/** What makes the calls of a load. */

/** One call under way. */
export interface Call {
    /** When it was meant to start, on the clock of `performance.now()`. */
    readonly intended: number;
    /** Whether its end is known; whatever comes then is too late. */
    settled: boolean;
    /** Set by the caller: gives the call up, whose deadline has passed. */
    abandon?: () => void;
}

/** Tells how a call ended: with an answer, or with what was wrong. */
export type Settle = (call: Call, error?: string, address?: string) => void;

/** Makes calls, and tells of each how it ended, once. */
export interface Caller {
    begin(call: Call): void;
    /** Whether it minds the deadline itself. */
    readonly keepsDeadlines: boolean;
    close(): void;
}
