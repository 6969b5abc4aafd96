/** The interface between a load and the code that makes its calls. */

/** A call in flight. */
export interface Call {
    /** Intended start, on the clock of `performance.now()`. */
    readonly intended: number;
    /** Whether its result is known. Later results are ignored. */
    settled: boolean;
    /** Set by the caller: abandons the call after its deadline. */
    abandon?: () => void;
}

/** Reports the result of a call: an answer, or an error. */
export type Settle = (call: Call, error?: string, address?: string) => void;

/** Makes calls, and settles each of them once. */
export interface Caller {
    begin(call: Call): void;
    /** Whether it enforces the deadline itself. */
    readonly keepsDeadlines: boolean;
    close(): void;
}
