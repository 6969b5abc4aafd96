/** What the tests of machines share. */
import { createConnection } from "node:net";
import type { Context } from "mocha";
import { whyNoLab } from "../lab";

/** Skips the tests of a block, with the reason, where no machines can be booted. */
export function needsLab(context: Context): void {
    const reason = whyNoLab();
    if (!reason) return;
    console.log(`      skipped: ${reason}`);
    context.skip();
}

/** How a TCP connect ends: `connected`, the code of an error such as `ECONNREFUSED`, or `silence` when nothing comes within the time, ms. */
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

/** What is said on a TCP connection until it ends; nothing when there is none, or that takes longer than a second. */
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
