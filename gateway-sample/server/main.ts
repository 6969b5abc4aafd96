/** The sample gateway as a program. It logs JSON lines to stdout and drains on SIGTERM. */

import { hostname } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { pino } from "pino";
import { startServer } from "./server";

// The thrift library uses `new Buffer`, about which Node.js warns on stderr once the library is bundled.
process.noDeprecation = true;

interface Flags {
    readonly name: string;
    readonly host: string;
    readonly port: number;
    readonly framed: boolean;
    readonly multiplexed: boolean;
    readonly maxConnections: number;
    readonly maxMessageBytes: number;
    readonly idleSeconds: number;
    readonly drainSeconds: number;
    readonly drainQuietSeconds: number;
    readonly drainIdleSeconds: number;
    readonly logLevel: string;
}

/** A parser of numbers from `least` to `most`. */
function number(least: number, most: number, whole = true) {
    return (text: string): number => {
        const value = Number(text);
        if (text.trim() === "" || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
            throw new InvalidArgumentError(`It must be a ${whole ? "whole " : ""}number from ${least} to ${most}.`);
        }
        return value;
    };
}

function logLevel(text: string): string {
    const levels = Object.keys(pino.levels.values);
    if (!levels.includes(text)) throw new InvalidArgumentError(`It must be one of ${levels.join(", ")}.`);
    return text;
}

const seconds = number(0.1, 86_400, false);

const command = new Command("gateway-sample")
    .description(
        "A small Thrift API server: binary protocol over TCP. SIGTERM drains it; a second one ends it at once.",
    )
    .option("--name <name>", "the server's name, as its ping answers", hostname())
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port to listen on", number(0, 65_535), 9190)
    .option("--framed", "each message has its length in front (TFramedTransport)", false)
    .option("--multiplexed", "calls name their service, as in GatewayApi:ping", false)
    .option("--max-connections <count>", "connections above this are closed", number(1, 1_000_000), 1000)
    .option("--max-message-bytes <bytes>", "a larger message closes its connection", number(64, 2 ** 30), 2 ** 24)
    .option("--idle-seconds <seconds>", "close a connection idle for so long", seconds, 3600)
    .option("--drain-seconds <seconds>", "the longest that draining takes", seconds, 8)
    .option("--drain-quiet-seconds <seconds>", "accept until no call came for so long", seconds, 1)
    .option("--drain-idle-seconds <seconds>", "close a connection idle for so long while draining", seconds, 2)
    .option("--log-level <level>", "the least level to log", logLevel, "info");

async function main(): Promise<void> {
    const flags = command.parse().opts<Flags>();
    const log = pino({ level: flags.logLevel, base: { pid: process.pid, server: flags.name } });
    // A handler that fails after its call is over (oneway calls) must not take the server with it.
    process.on("unhandledRejection", (reason) => log.error({ reason: String(reason) }, "a handler failed"));
    const server = await startServer({
        ...flags,
        drain: {
            seconds: flags.drainSeconds,
            quietSeconds: flags.drainQuietSeconds,
            idleSeconds: flags.drainIdleSeconds,
        },
        log,
    });
    const stop = async (signal: NodeJS.Signals) => {
        if (server.state === "serving") {
            log.info({ signal }, "told to stop");
            const { callsCut } = await server.drain();
            process.exit(callsCut > 0 ? 1 : 0);
        }
        log.warn({ signal }, "told to stop at once");
        await server.close();
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
}

main().catch((error: NodeJS.ErrnoException) => {
    const { host, port } = command.opts<Flags>();
    const reasons: Record<string, string> = {
        EADDRINUSE: "the port is in use",
        EADDRNOTAVAIL: "this machine does not have the address",
        EACCES: "not permitted",
        ENOTFOUND: "the host name is not known",
    };
    process.stderr.write(`cannot listen on ${host}:${port}: ${reasons[error.code ?? ""] ?? error.message}\n`);
    process.exitCode = 1;
});
