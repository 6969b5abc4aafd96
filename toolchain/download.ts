/**
 * Downloads over HTTP(S) with deadlines, through a proxy where the environment names one.
 *
 * Node's own `fetch` is not used: it heeds no proxy unless the process is started so, and it has no deadline for the
 * connection alone.
 */

import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import type { Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import * as tls from "node:tls";
import { SourceError } from "./errors";

/** Deadlines of a transfer, in milliseconds. */
export interface Deadlines {
    /** For name look-up, connection and TLS together. Default 4000. */
    readonly connectMs: number;
    /** For silence: waiting for the answer, or for the next piece of it. Default 15000. */
    readonly stallMs: number;
    /** Pause before the one retry. Default 500. */
    readonly retryMs: number;
}

/** Default {@link Deadlines}. On a network that drops packets, two tries fail within 8.5 s. */
export const DEADLINES: Deadlines = { connectMs: 4_000, stallMs: 15_000, retryMs: 500 };

/** How to transfer. */
export interface TransferOptions {
    readonly signal?: AbortSignal | undefined;
    readonly deadlines: Deadlines;
    /** Whether to retry once after a transient failure. Default true. */
    readonly retry?: boolean;
}

/** Why a transfer failed. */
class TransferError extends SourceError {
    constructor(
        message: string,
        /** Whether a retry may help. */
        readonly transient: boolean,
        /** Whether the host is unreachable, so that other files from it need not be tried. */
        readonly unreachable: boolean,
    ) {
        super(message);
    }
}

/** Whether an error means that its host is unreachable. */
export function isUnreachable(error: unknown): boolean {
    return error instanceof TransferError && error.unreachable;
}

/** The proxy for a URL according to HTTPS_PROXY, HTTP_PROXY and NO_PROXY (also in lower case); undefined for none. */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv = process.env): URL | undefined {
    const value = (name: string) => environment[name.toLowerCase()] || environment[name] || "";
    const proxy = value(url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY");
    if (!proxy) return undefined;
    const excluded = value("NO_PROXY")
        .split(/[\s,]+/)
        .filter(Boolean)
        .some((rule) => {
            if (rule === "*") return true;
            const [host = "", port] = rule.replace(/^\*?\./, "").split(":");
            const own = url.port || (url.protocol === "https:" ? "443" : "80");
            return (url.hostname === host || url.hostname.endsWith(`.${host}`)) && (!port || port === own);
        });
    if (excluded) return undefined;
    try {
        return new URL(proxy.includes("://") ? proxy : `http://${proxy}`);
    } catch {
        throw new SourceError("the proxy that the environment names (HTTPS_PROXY or HTTP_PROXY) is not a URL");
    }
}

function proxyHeaders(proxy: URL): http.OutgoingHttpHeaders {
    if (!proxy.username) return {};
    const credentials = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    return { "proxy-authorization": `Basic ${Buffer.from(credentials).toString("base64")}` };
}

/** Opens a tunnel through a proxy to the host of an https URL. */
function tunnel(url: URL, proxy: URL, signal: AbortSignal): Promise<Socket> {
    const target = `${url.hostname}:${url.port || 443}`;
    return new Promise((resolve, reject) => {
        const request = (proxy.protocol === "https:" ? https : http).request({
            host: proxy.hostname,
            port: proxy.port || (proxy.protocol === "https:" ? 443 : 80),
            method: "CONNECT",
            path: target,
            headers: { host: target, ...proxyHeaders(proxy) },
            signal,
        });
        request.on("connect", (response, socket) => {
            if (response.statusCode === 200) return resolve(socket);
            socket.destroy();
            reject(new TransferError(`the proxy ${proxy.host} answered ${response.statusCode}`, false, true));
        });
        request.on("error", reject);
        request.end();
    });
}

/** Sends a GET; resolves when the answer's headers have arrived. */
async function send(url: URL, signal: AbortSignal, onConnected: () => void): Promise<http.IncomingMessage> {
    const proxy = proxyFor(url);
    const secure = url.protocol === "https:";
    const headers = { "user-agent": "gateway-tools", accept: "*/*" };
    let request: http.ClientRequest;
    if (secure && proxy) {
        const socket = await tunnel(url, proxy, signal);
        const createConnection = () => tls.connect({ socket, servername: url.hostname });
        // With an agent, even `false`, Node would not use the tunnel.
        request = https.request(url, { headers, signal, createConnection });
    } else if (proxy) {
        request = http.request({
            host: proxy.hostname,
            port: proxy.port || 80,
            path: url.href,
            headers: { ...headers, host: url.host, ...proxyHeaders(proxy) },
            signal,
            agent: false,
        });
    } else {
        request = (secure ? https : http).request(url, { headers, signal, agent: false });
    }
    return new Promise((resolve, reject) => {
        request.on("socket", (socket) => socket.once(secure ? "secureConnect" : "connect", onConnected));
        request.on("response", resolve);
        request.on("error", reject);
        request.end();
    });
}

/** Describes a network error. */
function describeFailure(error: NodeJS.ErrnoException, host: string): TransferError {
    const code = error.code ?? "";
    if (code === "ENOTFOUND") return new TransferError(`the name ${host} cannot be resolved (${code})`, false, true);
    if (code === "EAI_AGAIN") return new TransferError(`the name ${host} cannot be resolved (${code})`, true, true);
    const refused = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET"].includes(code);
    return new TransferError(`the transfer from ${host} failed: ${code || error.message}`, true, refused);
}

/** Opens a URL, follows redirects, and hands the body to `consume`, under the deadlines. One try. */
async function transferOnce<T>(
    start: URL,
    options: TransferOptions,
    consume: (body: http.IncomingMessage, touch: () => void, signal: AbortSignal) => Promise<T>,
): Promise<T> {
    const { connectMs, stallMs } = options.deadlines;
    const stop = new AbortController();
    let host = start.host;
    let late: TransferError | undefined;
    let timer: NodeJS.Timeout | undefined;
    const expectWithin = (ms: number, text: string, unreachable: boolean) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
            late = new TransferError(`${host}: ${text} within ${ms / 1000} s`, true, unreachable);
            stop.abort();
        }, ms);
    };
    const touch = () => expectWithin(stallMs, "nothing was received", false);
    const onAbort = () => stop.abort();
    options.signal?.addEventListener("abort", onAbort, { once: true });
    try {
        options.signal?.throwIfAborted();
        let url = start;
        for (let hops = 0; hops <= 5; hops++) {
            host = url.host;
            expectWithin(connectMs, "no connection", true);
            const response = await send(url, stop.signal, touch);
            touch();
            const status = response.statusCode ?? 0;
            const location = response.headers.location;
            if (status >= 300 && status < 400 && location) {
                response.destroy();
                const next = new URL(location, url);
                if (url.protocol === "https:" && next.protocol !== "https:")
                    throw new TransferError(`${host} redirects to an address without TLS`, false, false);
                url = next;
                continue;
            }
            if (status !== 200) {
                response.destroy();
                throw new TransferError(`${host} answered ${status}`, status >= 500 || status === 429, false);
            }
            return await consume(response, touch, stop.signal);
        }
        throw new TransferError(`${start.host} redirects too often`, false, false);
    } catch (error) {
        options.signal?.throwIfAborted();
        if (late) throw late;
        if (error instanceof SourceError) throw error;
        const code = (error as NodeJS.ErrnoException).code;
        // An error of the local file, not of the transfer.
        if (code === "ENOSPC" || code === "EDQUOT" || code === "EACCES" || code === "EROFS" || code === "EIO")
            throw error;
        throw describeFailure(error as NodeJS.ErrnoException, host);
    } finally {
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", onAbort);
        stop.abort();
    }
}

/** As {@link transferOnce}, with one retry where that may help. */
async function transfer<T>(
    url: URL,
    options: TransferOptions,
    consume: (body: http.IncomingMessage, touch: () => void, signal: AbortSignal) => Promise<T>,
): Promise<T> {
    try {
        return await transferOnce(url, options, consume);
    } catch (error) {
        if (!(error instanceof TransferError) || !error.transient || options.retry === false) throw error;
        await delay(options.deadlines.retryMs, undefined, options.signal ? { signal: options.signal } : {});
        return await transferOnce(url, options, consume);
    }
}

/** Size in bytes above which {@link fetchText} gives up. */
const TEXT_LIMIT = 1_000_000;

/**
 * The text at a URL.
 *
 * @throws SourceError when the transfer fails; the signal's reason when aborted.
 */
export function fetchText(url: URL, options: TransferOptions): Promise<string> {
    return transfer(url, options, async (body, touch) => {
        let text = "";
        for await (const piece of body.setEncoding("utf8")) {
            touch();
            text += piece;
            if (text.length > TEXT_LIMIT) throw new TransferError(`${url.host} sent too much`, false, false);
        }
        return text;
    });
}

/**
 * Downloads a URL to a file.
 *
 * @param onProgress receives the bytes so far, and the expected bytes where the server says.
 * @returns the received file's SHA-256, in hex, and size, in bytes.
 * @throws SourceError when the transfer fails; the file system's error (such as ENOSPC) when the file cannot be written;
 * the signal's reason when aborted. The file is then removed.
 */
export async function download(
    url: URL,
    file: string,
    options: TransferOptions,
    onProgress: (received: number, expected?: number) => void,
): Promise<{ sha256: string; bytes: number }> {
    try {
        return await transfer(url, options, async (body, touch, signal) => {
            const length = Number(body.headers["content-length"]);
            const hash = crypto.createHash("sha256");
            let bytes = 0;
            // Opened here, because a stream might create the file after the transfer has already failed.
            const handle = await fs.promises.open(file, "w");
            await pipeline(
                body,
                async function* (pieces: AsyncIterable<Buffer>) {
                    for await (const piece of pieces) {
                        touch();
                        hash.update(piece);
                        bytes += piece.length;
                        onProgress(bytes, length || undefined);
                        yield piece;
                    }
                },
                handle.createWriteStream(),
                { signal },
            );
            return { sha256: hash.digest("hex"), bytes };
        });
    } catch (error) {
        fs.rmSync(file, { force: true });
        throw error;
    }
}
