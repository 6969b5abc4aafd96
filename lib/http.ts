import * as http from "node:http";
import * as https from "node:https";

/** A request to an API of the deployment. */
export interface Request {
    readonly url: string;
    readonly method?: "GET" | "POST" | "PUT" | "DELETE";
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
    /** Certificate authority, PEM. */
    readonly ca?: string;
    /** Name in the server's certificate, where it is not the URL's host. */
    readonly serverName?: string;
    /** Deadline for the whole answer. */
    readonly timeoutSeconds: number;
    readonly signal?: AbortSignal;
}

/** An answer of any status. */
export interface Response {
    readonly status: number;
    readonly headers: http.IncomingHttpHeaders;
    readonly body: string;
}

const MAX_BYTES = 16 * 1024 * 1024;

/**
 * Sends a request. Node's `fetch` takes no certificate authority, so this uses `node:https`.
 *
 * @throws Error when no complete answer arrives in time, or it exceeds 16 MiB.
 */
export function request({ url, method = "GET", headers, body, ca, serverName, timeoutSeconds, signal }: Request) {
    return new Promise<Response>((resolve, reject) => {
        const deadline = AbortSignal.timeout(timeoutSeconds * 1000);
        const host = new URL(url).host;
        const fail = (error: Error) =>
            reject(
                new Error(
                    deadline.aborted ? `${host}: no answer in ${timeoutSeconds} s` : `${host}: ${errorTextOf(error)}`,
                ),
            );
        const options: https.RequestOptions = {
            method,
            headers: { ...headers, ...(body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) }) },
            signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
            agent: false,
            ...(ca === undefined ? {} : { ca }),
            ...(serverName === undefined ? {} : { servername: serverName }),
        };
        const client = url.startsWith("https:") ? https : http;
        const sent = client.request(url, options, (answer) => {
            const chunks: Buffer[] = [];
            let length = 0;
            answer.on("data", (chunk: Buffer) => {
                chunks.push(chunk);
                length += chunk.length;
                if (length > MAX_BYTES) sent.destroy(new Error("the answer is too large"));
            });
            answer.on("error", fail);
            answer.on("end", () =>
                resolve({
                    status: answer.statusCode ?? 0,
                    headers: answer.headers,
                    body: Buffer.concat(chunks).toString("utf8"),
                }),
            );
        });
        sent.on("error", fail);
        sent.end(body);
    });
}

function errorTextOf(error: Error & { code?: string }): string {
    return error.message || error.code || error.name;
}
