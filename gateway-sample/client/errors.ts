/** What can go wrong with a call, apart from the exceptions that the service itself answers with. */

/** One try of a call that did not succeed. */
export interface FailedTry {
    /** `host:port`. */
    readonly address: string;
    readonly error: Error;
    /** Whether any of the call may have reached the server. */
    readonly sent: boolean;
}

/** A call failed; the subclass says how. */
export class CallFailed extends Error {
    override readonly name: string = "CallFailed";

    /**
     * @param message says what happened
     * @param tries all that was tried, in order; empty when nothing was
     */
    constructor(
        message: string,
        readonly tries: readonly FailedTry[],
    ) {
        super(tries.length === 0 ? message : `${message} (${tries.map(describe).join("; ")})`);
        this.cause = tries.at(-1)?.error;
    }

    /** Whether a server may have carried the call out: then a repetition may do it twice. */
    get maybeDone(): boolean {
        return this.tries.some((failed) => failed.sent);
    }
}

function describe(failed: FailedTry): string {
    return `${failed.address}: ${failed.error.message}`;
}

/** No answer came within the call's deadline. */
export class DeadlineExceeded extends CallFailed {
    override readonly name = "DeadlineExceeded";
}

/** No address accepted a connection, or every permitted try failed. */
export class AllAddressesFailed extends CallFailed {
    override readonly name = "AllAddressesFailed";
}

/** The connection was lost after a call that must not be repeated had been sent: it may or may not have been carried out. */
export class OutcomeUnknown extends CallFailed {
    override readonly name = "OutcomeUnknown";
}

/** The client has been closed. */
export class ClientClosed extends CallFailed {
    override readonly name = "ClientClosed";

    constructor(tries: readonly FailedTry[] = []) {
        super("the client is closed", tries);
    }
}

/** As many calls as the client permits are under way. */
export class TooManyCalls extends CallFailed {
    override readonly name = "TooManyCalls";
}

/** A connection could not be made, so nothing was sent. */
export class ConnectFailed extends Error {
    override readonly name = "ConnectFailed";
}

/** The connection ended before the answer was there. */
export class ConnectionLost extends Error {
    override readonly name = "ConnectionLost";
}

/** No answer came in the time given to one try. */
export class TryTimedOut extends Error {
    override readonly name = "TryTimedOut";
}

/** The answer is not one to the call. */
export class BadReply extends Error {
    override readonly name = "BadReply";
}
