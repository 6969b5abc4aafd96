/** A server that does as little as Node allows, to measure the ceiling of the generator. */
import { createServer } from "node:net";

/** Offset of the message's type, and the type of a reply. */
const TYPE = 3;
const REPLY = 2;

/** The answer to an unframed call of `echo`: the call itself with another message type and field number. */
export function answerOf(call: Buffer): Buffer {
    const answer = Buffer.from(call);
    const nameLength = call.readInt32BE(4);
    answer[TYPE] = REPLY;
    // The field's number follows version, name with its length, sequence number and the field's type.
    answer.writeInt16BE(0, 4 + 4 + nameLength + 4 + 1);
    return answer;
}

/** Serves until the parent disconnects. Sends `ready` when it listens. */
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
