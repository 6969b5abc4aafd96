/** A call as bytes: generated code writes it and reads its reply, whichever connection carries them. */

import { TBinaryProtocol, type TClientConstructor, Thrift, type TProtocolConstructor, type TTransport } from "thrift";
import { type Message, MessageType } from "../wire/message";
import { MessageWriter, readingProtocol } from "../wire/protocol";
import { BadReply } from "./errors";

/** What is generated for a service: the module, or its `Client` class. */
export type GeneratedClient<C> = TClientConstructor<C>;

/** A call, encoded once and sent as often as needed. */
export interface EncodedCall {
    /** As it goes onto the wire. */
    readonly request: Buffer;
    /** Whether the server answers at all. */
    readonly oneway: boolean;
    /**
     * The result in the reply.
     *
     * @throws the exception that the service answered with: one declared in its IDL, or a TApplicationException
     * @throws BadReply when the message is not an answer to this call
     */
    decode(reply: Message): Promise<unknown>;
}

/** How calls are encoded. */
export interface EncodeOptions {
    readonly framed: boolean;
    /** The service's name on a multiplexed server. */
    readonly serviceName?: string | undefined;
}

/** The parts of a generated client that the compiler's type declarations leave out. */
interface ClientInternals {
    _seqid: number;
    /** What to do with the reply to a call, by sequence number. */
    _reqs: Record<number, (error: unknown, value?: unknown) => void>;
    [method: string]: unknown;
}

let lastSeqid = 0;

/**
 * Encodes a call of `method`.
 *
 * @throws Error when the service has no such method, or of generated code when the arguments do not fit
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
        await written; // rejected with what was wrong with the arguments
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
            // A promise of its own for each reply: a call that is repeated gets more than one.
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
                // Generated code rejects with a text when a method that has a result answered without one.
                throw new Thrift.TApplicationException(Thrift.TApplicationExceptionType.MISSING_RESULT, error);
            });
        },
    };
}

/** The binary protocol that puts the service's name in front of the method's. */
function protocolFor(serviceName: string | undefined): TProtocolConstructor {
    if (serviceName === undefined) return TBinaryProtocol;
    return class extends TBinaryProtocol {
        // Generated code calls it without "strict" flags; only calls are written by a client.
        constructor(transport: TTransport) {
            super(transport);
        }

        override writeMessageBegin(name: string, type: Thrift.MessageType, seqid: number): void {
            super.writeMessageBegin(`${serviceName}:${name}`, type, seqid);
        }
    };
}
