/**
 * Cuts a stream into messages of the Thrift binary protocol.
 *
 * Unframed messages have no length in front, so a reader must walk through a message to find its end. The readers here
 * visit each byte once, however the network splits the message. They use bounded memory, and reject anything but a
 * message before generated code sees it.
 */

/** Message types of the Thrift protocol. */
export const MessageType = { call: 1, reply: 2, exception: 3, oneway: 4 } as const;

/** Default limit of a message, bytes: 16 MiB, as for a frame in other Thrift libraries. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** One complete message. */
export interface Message {
    /** One of {@link MessageType}. */
    readonly type: number;
    /** The method. In a call on a multiplexed connection: `Service:method`. */
    readonly name: string;
    readonly seqid: number;
    /** The whole message, without the length of a frame. */
    readonly bytes: Buffer;
}

/** The received data is not a message, or is too large. The connection is unusable. */
export class MalformedMessage extends Error {
    override readonly name = "MalformedMessage";
}

/** Options of {@link MessageReader}. */
export interface ReaderOptions {
    /** Whether each message follows its four-byte length (TFramedTransport). */
    readonly framed: boolean;
    /** Larger messages are malformed. Default {@link MAX_MESSAGE_BYTES}. */
    readonly maxBytes?: number;
}

/** Cuts a stream of bytes into messages. */
export class MessageReader {
    readonly #input = new Input();
    readonly #framed: boolean;
    readonly #maxBytes: number;
    #scan: Generator<undefined, Message, void> | undefined;

    constructor(options: ReaderOptions) {
        this.#framed = options.framed;
        this.#maxBytes = options.maxBytes ?? MAX_MESSAGE_BYTES;
    }

    /** Number of received bytes that belong to no returned message. */
    get buffered(): number {
        return this.#input.size;
    }

    /** Adds received bytes. */
    push(chunk: Buffer): void {
        this.#input.append(chunk);
    }

    /**
     * The next complete message, or undefined when more bytes are needed.
     *
     * @throws MalformedMessage
     */
    next(): Message | undefined {
        if (this.#scan === undefined && this.buffered === 0) return undefined;
        this.#scan ??= this.#framed ? scanFrame(this.#input, this.#maxBytes) : scanPlain(this.#input, this.#maxBytes);
        const step = this.#scan.next();
        if (!step.done) return undefined;
        this.#scan = undefined;
        this.#input.forget();
        return step.value;
    }
}

/** Received bytes, read from the front. Offsets count from the start of the current message. */
class Input {
    #storage: Buffer = Buffer.alloc(0);
    /** Whether this class may write to the storage, unlike a chunk from the network. */
    #owned = false;
    #start = 0;
    #end = 0;
    /** Offset of the next byte to read. */
    position = 0;
    /** Offset that the message must not exceed. */
    limit = 0;

    get size(): number {
        return this.#end - this.#start;
    }

    append(chunk: Buffer): void {
        if (this.size === 0) {
            this.#storage = chunk;
            this.#owned = false;
            this.#start = 0;
            this.#end = chunk.length;
            return;
        }
        if (!this.#owned || this.#end + chunk.length > this.#storage.length) {
            // Twice the needed size, to avoid a copy for each piece of a message.
            const grown = Buffer.allocUnsafe(2 * (this.size + chunk.length));
            this.#storage.copy(grown, 0, this.#start, this.#end);
            this.#end = this.size;
            this.#start = 0;
            this.#storage = grown;
            this.#owned = true;
        }
        chunk.copy(this.#storage, this.#end);
        this.#end += chunk.length;
    }

    /** Drops the bytes that were read. A new message follows. */
    forget(): void {
        this.#start += this.position;
        this.position = 0;
    }

    /** Whether this many bytes can be read now. @throws MalformedMessage when they exceed the message's limit. */
    has(bytes: number): boolean {
        if (this.position + bytes > this.limit) {
            throw new MalformedMessage(`a message claims more than its limit of ${this.limit} bytes`);
        }
        return this.position + bytes <= this.size;
    }

    skip(bytes: number): void {
        this.position += bytes;
    }

    byte(): number {
        const value = this.#storage[this.#start + this.position] as number;
        this.position += 1;
        return value;
    }

    int32(): number {
        const value = this.#storage.readInt32BE(this.#start + this.position);
        this.position += 4;
        return value;
    }

    /** Reads a length or count. @throws MalformedMessage when it is negative. */
    length(): number {
        const value = this.int32();
        if (value < 0) throw new MalformedMessage(`a negative length, ${value}`);
        return value;
    }

    text(bytes: number): string {
        const from = this.#start + this.position;
        this.position += bytes;
        return this.#storage.toString("utf8", from, from + bytes);
    }

    slice(from: number, to: number): Buffer {
        return this.#storage.subarray(this.#start + from, this.#start + to);
    }
}

// The generators below yield while they wait for more bytes.
type Scan<T> = Generator<undefined, T, void>;

function* scanPlain(input: Input, maxBytes: number): Scan<Message> {
    input.limit = maxBytes;
    return yield* scanMessage(input);
}

function* scanFrame(input: Input, maxBytes: number): Scan<Message> {
    input.limit = 4;
    while (!input.has(4)) yield;
    const size = input.length();
    if (size > maxBytes) throw new MalformedMessage(`a frame of ${size} bytes; at most ${maxBytes} are allowed`);
    input.limit = 4 + size;
    while (!input.has(size)) yield;
    const message = yield* scanMessage(input);
    if (input.position !== input.limit) throw new MalformedMessage("a frame longer than the message in it");
    return message;
}

function* scanMessage(input: Input): Scan<Message> {
    const start = input.position;
    while (!input.has(8)) yield;
    const version = input.int32();
    if (version >>> 16 !== 0x8001) throw new MalformedMessage("not a message of the strict binary protocol");
    const nameLength = input.length();
    while (!input.has(nameLength + 4)) yield;
    const name = input.text(nameLength);
    const seqid = input.int32();
    yield* skipStruct(input, 0);
    return { type: version & 0xff, name, seqid, bytes: input.slice(start, input.position) };
}

/** Value types by their numbers in the protocol. `WIDTHS` has those of fixed size, in bytes. */
const STOP = 0;
const STRING = 11;
const STRUCT = 12;
const MAP = 13;
const SET = 14;
const LIST = 15;
const WIDTHS = new Map([
    [2, 1], // bool
    [3, 1], // i8
    [4, 8], // double
    [6, 2], // i16
    [8, 4], // i32
    [10, 8], // i64
    [16, 16], // uuid
]);

/** Maximum depth of nested values, as in the library. */
const MAX_DEPTH = 64;

function* skipStruct(input: Input, depth: number): Scan<void> {
    if (depth > MAX_DEPTH) throw new MalformedMessage(`values nested more than ${MAX_DEPTH} deep`);
    for (;;) {
        while (!input.has(1)) yield;
        const type = input.byte();
        if (type === STOP) return;
        while (!input.has(2)) yield;
        input.skip(2); // the field's number
        yield* skipValue(input, type, depth);
    }
}

function* skipValue(input: Input, type: number, depth: number): Scan<void> {
    const width = WIDTHS.get(type);
    if (width !== undefined) {
        while (!input.has(width)) yield;
        return input.skip(width);
    }
    switch (type) {
        case STRING: {
            while (!input.has(4)) yield;
            const length = input.length();
            while (!input.has(length)) yield;
            return input.skip(length);
        }
        case STRUCT:
            return yield* skipStruct(input, depth + 1);
        case SET:
        case LIST: {
            while (!input.has(5)) yield;
            const element = input.byte();
            return yield* skipValues(input, [element], input.length(), depth + 1);
        }
        case MAP: {
            while (!input.has(6)) yield;
            const [key, value] = [input.byte(), input.byte()];
            return yield* skipValues(input, [key, value], input.length(), depth + 1);
        }
        default:
            throw new MalformedMessage(`an unknown value type, ${type}`);
    }
}

/** Skips `count` groups of values of the given types. */
function* skipValues(input: Input, types: readonly number[], count: number, depth: number): Scan<void> {
    if (count === 0) return;
    if (depth > MAX_DEPTH) throw new MalformedMessage(`values nested more than ${MAX_DEPTH} deep`);
    const widths = types.map((type) => WIDTHS.get(type));
    if (widths.every((width) => width !== undefined)) {
        const size = count * widths.reduce((sum, width) => sum + width, 0);
        while (!input.has(size)) yield;
        return input.skip(size);
    }
    for (let done = 0; done < count; done++) {
        for (const type of types) yield* skipValue(input, type, depth);
    }
}
