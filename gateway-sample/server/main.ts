/** The sample gateway's program. It logs JSON lines to stdout and drains on SIGTERM. */

import { hostname } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { pino } from "pino";
import { startServer } from "./server";

// The thrift library uses `new Buffer`. Node warns about it on stderr when the library is bundled.
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

/** Returns a parser of numbers from `least` to `most`. */
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
        "A small Thrift API server: binary protocol over TCP. SIGTERM drains it; a second signal stops it at once.",
    )
    .option("--name <name>", "name of the server, which ping returns", hostname())
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port to listen on", number(0, 65_535), 9190)
    .option("--framed", "use framed messages (TFramedTransport)", false)
    .option("--multiplexed", "expect the service's name in calls, as in GatewayApi:ping", false)
    .option("--max-connections <count>", "close connections above this number", number(1, 1_000_000), 1000)
    .option("--max-message-bytes <bytes>", "close a connection with a larger message", number(64, 2 ** 30), 2 ** 24)
    .option("--idle-seconds <seconds>", "close a connection that is idle for this time", seconds, 3600)
    .option("--drain-seconds <seconds>", "drain for this time at most", seconds, 8)
    .option("--drain-quiet-seconds <seconds>", "while draining, accept until no call came for this time", seconds, 1)
    .option(
        "--drain-idle-seconds <seconds>",
        "while draining, close a connection that is idle for this time",
        seconds,
        2,
    )
    .option("--log-level <level>", "lowest level to log", logLevel, "info");

async function main(): Promise<void> {
    const flags = command.parse().opts<Flags>();
    const log = pino({ level: flags.logLevel, base: { pid: process.pid, server: flags.name } });
    // A handler of a oneway call that fails must not stop the server.
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
            log.info({ signal }, "stopping");
            const { callsCut } = await server.drain();
            process.exit(callsCut > 0 ? 1 : 0);
        }
        log.warn({ signal }, "stopping at once");
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
        EACCES: "permission denied",
        ENOTFOUND: "unknown host name",
    };
    process.stderr.write(`cannot listen on ${host}:${port}: ${reasons[error.code ?? ""] ?? error.message}\n`);
    process.exitCode = 1;
});
