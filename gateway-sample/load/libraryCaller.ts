/** Makes calls as users do: with the client library, which retries idempotent calls. */
import { CallFailed, createClient } from "../client";
import * as GatewayApi from "../gen/GatewayApi";
import type { Call, Caller, Settle } from "./caller";

/** Options of {@link libraryCaller}. */
export interface LibraryOptions {
    /** `host:port` of each balancer. */
    readonly addresses: readonly string[];
    readonly method: "ping" | "echo";
    readonly text: string;
    readonly framed: boolean;
    readonly serviceName?: string | undefined;
    /** Kept connections per address; 0 opens one for each call. */
    readonly poolSize: number;
    readonly deadlineMs: number;
}

/** Creates a caller that uses the client library. */
export function libraryCaller(options: LibraryOptions, settle: Settle): Caller {
    const { addresses, method, text, framed, serviceName, poolSize, deadlineMs } = options;
    const client = createClient(GatewayApi, {
        addresses,
        framed,
        deadlineMs,
        poolSize,
        maxCalls: Number.MAX_SAFE_INTEGER,
        idempotent: true,
        ...(serviceName === undefined ? {} : { serviceName }),
    });
    const make = (): Promise<unknown> => (method === "echo" ? client.api.echo(text) : client.api.ping());
    return {
        keepsDeadlines: true,
        begin(call: Call) {
            make().then(
                () => settle(call),
                (error: Error) =>
                    settle(
                        call,
                        `${error.name}: ${error.message}`,
                        error instanceof CallFailed ? error.tries.at(-1)?.address : undefined,
                    ),
            );
        },
        close: () => client.close(),
    };
}
