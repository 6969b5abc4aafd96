/** A server that costs as little as Node allows: what the generator can do at most is measured against it. */
import { createServer } from "node:net";

/** The field of a call's first argument and that of its result differ in this byte, and the message's type in that. */
const TYPE = 3;
const REPLY = 2;

/** The answer to an unframed call of `echo`: the call itself, but for its type and the number of its field. */
export function answerOf(call: Buffer): Buffer {
    const answer = Buffer.from(call);
    const nameLength = call.readInt32BE(4);
    answer[TYPE] = REPLY;
    // Version, name with its length, sequence number, then the field's type and its number in two bytes.
    answer.writeInt16BE(0, 4 + 4 + nameLength + 4 + 1);
    return answer;
}

/** Serves until the parent goes; `ready` is sent once it listens. */
function main(host: string, port: number): void {
    let answer: Buffer | undefined;
    const server = createServer({ noDelay: true }, (socket) => {
        socket.on("data", (call) => {
            answer ??= answerOf(call);
            socket.write(answer);
        });
        socket.on("error", () => socket.destroy());
    });
    server.listen({ host, port, backlog: 4096 }, () => process.send?.("ready"));
    process.on("disconnect", () => process.exit());
    process.on("SIGINT", () => {});
}

if (require.main === module) main(process.argv[2] as string, Number(process.argv[3]));
