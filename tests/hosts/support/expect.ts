/** Helpers of the tests of machines. */
import { createConnection } from "node:net";
import type { Context } from "mocha";
import { whyNoLab } from "../lab";

/** Skips the tests of a block, and says why, if no machines can be booted. */
export function needsLab(context: Context): void {
    const reason = whyNoLab();
    if (!reason) return;
    console.log(`      skipped: ${reason}`);
    context.skip();
}

/**
 * The result of a TCP connect: `connected`, an error's code such as `ECONNREFUSED`, or `silence` if nothing comes
 * within the time (ms).
 */
export function connectTo(address: string, port: number, timeout: number): Promise<string> {
    return new Promise((done) => {
        const socket = createConnection({ host: address, port, timeout });
        const end = (outcome: string) => {
            socket.destroy();
            done(outcome);
        };
        socket.once("connect", () => end("connected"));
        socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
        socket.once("timeout", () => end("silence"));
    });
}

/**
 * The text that a TCP connection receives until it ends; empty if there is no connection, or it takes longer than a
 * second.
 */
export function heard(address: string, port: number): Promise<string> {
    return new Promise((done) => {
        let said = "";
        const socket = createConnection({ host: address, port, timeout: 1000 });
        socket.on("data", (text: Buffer) => {
            said += text;
        });
        socket.on("timeout", () => socket.destroy());
        socket.on("error", () => undefined);
        socket.on("close", () => done(said));
    });
}
