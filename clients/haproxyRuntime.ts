/** HAProxy's runtime API: one or more commands per connection. */
import { connect } from "node:net";

/** Deadline of an answer, in milliseconds. */
const TIMEOUT = 2_000;
/** Longest answer, characters; `show servers state` has about 100 for each slot. */
const LONGEST = 4 * 1024 * 1024;

/** HAProxy cannot be reached, or refused a command. */
export class RuntimeError extends Error {
    override readonly name = "RuntimeError";
}

/** A client of HAProxy's runtime API on a Unix socket. */
export class HaproxyRuntime {
    constructor(private readonly socket: string) {}

    /**
     * Sends a command.
     *
     * @returns the trimmed answer.
     * @throws RuntimeError when there is no answer within 2 s.
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
     * Sends a command that changes something. HAProxy answers nothing on success, unless `expected` matches the answer.
     *
     * @throws RuntimeError with any other answer.
     */
    async order(command: string, expected: RegExp = /^$/): Promise<void> {
        const answer = await this.ask(command);
        if (!expected.test(answer)) throw new RuntimeError(`HAProxy refuses "${command}": ${answer.slice(0, 200)}`);
    }
}
