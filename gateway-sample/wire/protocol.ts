/** The library's binary protocol, between generated code and whole messages. */

import { TBinaryProtocol, TFramedTransport, Thrift, type TProtocol, type TTransport } from "thrift";

/**
 * Collects what generated code writes and hands over each message, as it goes onto the wire.
 *
 * It does for writing what TBufferedTransport and TFramedTransport do, without their buffers for reading, and can
 * start a message anew.
 */
export class MessageWriter {
    #parts: Buffer[] = [];

    /**
     * @param framed whether each message gets its length in front
     * @param onMessage called with each complete message
     */
    constructor(
        private readonly framed: boolean,
        private readonly onMessage: (bytes: Buffer) => void,
    ) {}

    /** Forgets a message begun and not flushed. */
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

    /** Called by the protocol; of use only to the library's own connections. */
    setCurrSeqId(): void {}

    /** This writer as the library's types want it: generated code uses no more of a transport than is here. */
    asTransport(): TTransport {
        return this as unknown as TTransport;
    }
}

/**
 * The protocol that a processor writes its reply with.
 *
 * A generated processor that fails halfway through a result writes an exception after it; starting anew for the
 * exception keeps the reply one valid message.
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

/** A protocol to read one whole message with. */
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
