/** A call as bytes: generated code writes it and reads its reply, independent of the connection. */

import { TBinaryProtocol, type TClientConstructor, Thrift, type TProtocolConstructor, type TTransport } from "thrift";
import { type Message, MessageType } from "../wire/message";
import { MessageWriter, readingProtocol } from "../wire/protocol";
import { BadReply } from "./errors";

/** Generated code of a service: the module, or its `Client` class. */
export type GeneratedClient<C> = TClientConstructor<C>;

/** A call, encoded once and sent as often as needed. */
export interface EncodedCall {
    /** The bytes to send. */
    readonly request: Buffer;
    /** Whether the server answers at all. */
    readonly oneway: boolean;
    /**
     * Decodes the result in the reply.
     *
     * @throws the exception in the answer: one of the service's IDL, or a TApplicationException
     * @throws BadReply when the message does not answer this call
     */
    decode(reply: Message): Promise<unknown>;
}

/** Options of {@link encodeCall}. */
export interface EncodeOptions {
    readonly framed: boolean;
    /** The service's name on a multiplexed server. */
    readonly serviceName?: string | undefined;
}

/** Parts of a generated client that its type declarations leave out. */
interface ClientInternals {
    _seqid: number;
    /** The callbacks for replies, by sequence number. */
    _reqs: Record<number, (error: unknown, value?: unknown) => void>;
    [method: string]: unknown;
}

let lastSeqid = 0;

/**
 * Encodes a call of `method`.
 *
 * @throws Error when the service has no such method, or an error of generated code when the arguments do not fit
 */
export async function encodeCall<C>(
    service: GeneratedClient<C>,
    method: string,
    args: readonly unknown[],
    options: EncodeOptions,
): Promise<EncodedCall> {
    let request: Buffer | undefined;
    const writer = new MessageWriter(options.framed, (bytes) => {
        request = bytes;
    });
    const Client = typeof service === "function" ? service : service.Client;
    const client = new Client(writer.asTransport(), protocolFor(options.serviceName)) as unknown as ClientInternals;
    const call = client[method];
    const receive = client[`recv_${method}`];
    if (typeof call !== "function" || typeof client[`send_${method}`] !== "function") {
        throw new Error(`the service has no method "${method}"`);
    }
    lastSeqid = (lastSeqid + 1) & 0x7fffffff;
    client._seqid = lastSeqid - 1; // the generated client adds one
    const seqid = lastSeqid;
    const written = (call as (...args: unknown[]) => Promise<unknown>).apply(client, [...args]);
    if (request === undefined) {
        await written; // rejects with the problem of the arguments
        throw new Error(`"${method}" could not be encoded`);
    }
    return {
        request,
        oneway: typeof receive !== "function",
        decode: async (reply) => {
            if (reply.seqid !== seqid || reply.name !== method) {
                throw new BadReply(`a reply to ${reply.name} (${reply.seqid}) came for ${method} (${seqid})`);
            }
            if (reply.type !== MessageType.reply && reply.type !== MessageType.exception) {
                throw new BadReply(`a message of type ${reply.type} came as the reply to ${method}`);
            }
            const input = readingProtocol(reply.bytes);
            input.readMessageBegin();
            // A new promise for each reply, because a retried call may get several.
            const result = new Promise<unknown>((resolve, reject) => {
                client._reqs[seqid] = (error, value) => (error ? reject(error) : resolve(value));
            });
            try {
                (receive as (...args: unknown[]) => void).call(client, input, reply.type, seqid);
            } catch (error) {
                throw new BadReply(`the reply to ${method} cannot be read: ${(error as Error).message}`);
            }
            return result.catch((error: unknown) => {
                if (typeof error !== "string") throw error;
                // Generated code rejects with a string when the result is missing.
                throw new Thrift.TApplicationException(Thrift.TApplicationExceptionType.MISSING_RESULT, error);
            });
        },
    };
}

/** The binary protocol, with the service's name in front of the method's on a multiplexed server. */
function protocolFor(serviceName: string | undefined): TProtocolConstructor {
    if (serviceName === undefined) return TBinaryProtocol;
    return class extends TBinaryProtocol {
        // Generated code passes no "strict" flags.
        constructor(transport: TTransport) {
            super(transport);
        }

        override writeMessageBegin(name: string, type: Thrift.MessageType, seqid: number): void {
            super.writeMessageBegin(`${serviceName}:${name}`, type, seqid);
        }
    };
}
