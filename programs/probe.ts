import { existsSync } from "node:fs";
import { get } from "node:http";
import { connect } from "node:net";
import { resolve } from "node:path";
import type { Probe } from "./machine";

/** How long one attempt may take, milliseconds. */
const TIMEOUT = 1_000;

/** Tries a probe once; paths are relative to `directory`. Never throws: a probe that cannot be tried has failed. */
export function probe(target: Probe, directory: string): Promise<boolean> {
    switch (target.kind) {
        case "file":
            return Promise.resolve(existsSync(resolve(directory, target.path)));
        case "http":
            return new Promise((done) => {
                const request = get(target.url, { timeout: TIMEOUT, agent: false }, (response) => {
                    response.resume();
                    done(response.statusCode === target.status);
                });
                request.on("timeout", () => request.destroy());
                request.on("error", () => done(false));
            });
        case "tcp":
            return new Promise((done) => {
                const socket = connect({ host: target.host, port: target.port, timeout: TIMEOUT });
                const end = (result: boolean) => {
                    socket.destroy();
                    done(result);
                };
                socket.on("connect", () => end(true));
                socket.on("timeout", () => end(false));
                socket.on("error", () => end(false));
            });
    }
}
