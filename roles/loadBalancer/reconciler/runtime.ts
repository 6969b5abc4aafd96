/** HAProxy's runtime API: one command, or several, to a connection. */
import { connect } from "node:net";

/** Longest wait for an answer, milliseconds. */
const TIMEOUT = 2_000;
/** Longest answer, characters; `show servers state` has about 100 for each slot. */
const LONGEST = 4 * 1024 * 1024;

/** HAProxy cannot be reached or has refused a command. */
export class RuntimeError extends Error {
    override readonly name = "RuntimeError";
}

/** Speaks to a HAProxy over the Unix socket of its runtime API. */
export class Runtime {
    constructor(private readonly socket: string) {}

    /**
     * Asks something.
     *
     * @returns the answer, without the empty lines around it.
     * @throws RuntimeError when there is none in 2 s.
     */
    ask(command: string): Promise<string> {
        return new Promise((done, fail) => {
            let answer = "";
            const connection = connect({ path: this.socket, timeout: TIMEOUT });
            const refuse = (why: string) => {
                connection.destroy();
                fail(new RuntimeError(`HAProxy at ${this.socket}: ${why}`));
            };
            connection.setEncoding("utf8");
            connection.on("connect", () => connection.write(`${command}\n`));
            connection.on("data", (part: string) => {
                answer += part;
                if (answer.length > LONGEST) refuse(`too long an answer to "${command}"`);
            });
            connection.on("end", () => {
                connection.destroy();
                done(answer.trim());
            });
            connection.on("timeout", () => refuse(`no answer to "${command}" in ${TIMEOUT} ms`));
            connection.on("error", (error: NodeJS.ErrnoException) => refuse(error.code ?? error.message));
        });
    }

    /**
     * Gives an order. HAProxy answers nothing to one that it has carried out, except where `expected` says what.
     *
     * @throws RuntimeError with the answer, when it is another.
     */
    async order(command: string, expected: RegExp = /^$/): Promise<void> {
        const answer = await this.ask(command);
        if (!expected.test(answer)) throw new RuntimeError(`HAProxy refuses "${command}": ${answer.slice(0, 200)}`);
    }
}
