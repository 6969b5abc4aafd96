/** Connects generated code with complete messages, through the library's binary protocol. */

import { TBinaryProtocol, TFramedTransport, Thrift, type TProtocol, type TTransport } from "thrift";

/**
 * Collects the output of generated code and passes on each complete message, ready to send.
 *
 * It writes as TBufferedTransport and TFramedTransport do, without their buffers for reading. It can also restart a
 * message.
 */
export class MessageWriter {
    #parts: Buffer[] = [];

    /**
     * @param framed whether to put the length in front of each message
     * @param onMessage called with each complete message
     */
    constructor(
        private readonly framed: boolean,
        private readonly onMessage: (bytes: Buffer) => void,
    ) {}

    /** Discards an unfinished message. */
    restart(): void {
        this.#parts = [];
    }

    /** Called by the protocol. */
    write(part: Buffer | string): void {
        this.#parts.push(typeof part === "string" ? Buffer.from(part) : part);
    }

    /** Called by generated code at the end of a message. */
    flush(): void {
        const parts = this.#parts;
        this.#parts = [];
        if (this.framed) {
            const length = Buffer.allocUnsafe(4);
            length.writeInt32BE(parts.reduce((sum, part) => sum + part.length, 0));
            parts.unshift(length);
        }
        this.onMessage(Buffer.concat(parts));
    }

    /** Called by the protocol. Only the library's own connections need it. */
    setCurrSeqId(): void {}

    /** This writer as a TTransport. Generated code uses only the methods above. */
    asTransport(): TTransport {
        return this as unknown as TTransport;
    }
}

/**
 * The protocol with which a processor writes its reply.
 *
 * A generated processor that fails halfway through a result writes an exception after it. This class then discards the
 * partial result, so that the reply is one valid message.
 */
export class ReplyProtocol extends TBinaryProtocol {
    constructor(private readonly writer: MessageWriter) {
        super(writer.asTransport());
    }

    override writeMessageBegin(name: string, type: Thrift.MessageType, seqid: number): void {
        this.writer.restart();
        (this as unknown as { _seqid: number | null })._seqid = null;
        super.writeMessageBegin(name, type, seqid);
    }
}

/** A protocol that reads one complete message. */
export function readingProtocol(message: Buffer): TProtocol {
    return new TBinaryProtocol(new TFramedTransport(message));
}

/** Writes an application exception as the answer to a call. */
export function writeException(
    output: TProtocol,
    call: { readonly name: string; readonly seqid: number },
    type: Thrift.TApplicationExceptionType,
    text: string,
): void {
    output.writeMessageBegin(call.name, Thrift.MessageType.EXCEPTION, call.seqid);
    const exception = new Thrift.TApplicationException(type, text);
    exception.code = type; // the library's constructor sets `type`, but its writer looks at `code`
    exception.write(output);
    output.writeMessageEnd();
    output.flush();
}
