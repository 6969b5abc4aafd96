/** Errors of a call, besides the exceptions of the service. */

/** A failed try of a call. */
export interface FailedTry {
    /** `host:port`. */
    readonly address: string;
    readonly error: Error;
    /** Whether some of the call may have reached the server. */
    readonly sent: boolean;
}

/** A failed call. The subclass says how it failed. */
export class CallFailed extends Error {
    override readonly name: string = "CallFailed";

    /**
     * @param message describes the failure
     * @param tries all tries in order; may be empty
     */
    constructor(
        message: string,
        readonly tries: readonly FailedTry[],
    ) {
        super(tries.length === 0 ? message : `${message} (${tries.map(describe).join("; ")})`);
        this.cause = tries.at(-1)?.error;
    }

    /** Whether a server may have executed the call, so that a retry may execute it twice. */
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

/** No address accepted a connection, or all permitted tries failed. */
export class AllAddressesFailed extends CallFailed {
    override readonly name = "AllAddressesFailed";
}

/** The connection was lost after sending a call that is not idempotent. The server may have executed it. */
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

/** The client's limit of concurrent calls is reached. */
export class TooManyCalls extends CallFailed {
    override readonly name = "TooManyCalls";
}

/** The connection attempt failed, so nothing was sent. */
export class ConnectFailed extends Error {
    override readonly name = "ConnectFailed";
}

/** The connection ended before the answer arrived. */
export class ConnectionLost extends Error {
    override readonly name = "ConnectionLost";
}

/** No answer came within the time of one try. */
export class TryTimedOut extends Error {
    override readonly name = "TryTimedOut";
}

/** The received message does not answer the call. */
export class BadReply extends Error {
    override readonly name = "BadReply";
}
