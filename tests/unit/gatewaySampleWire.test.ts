import assert from "node:assert/strict";
import fc from "fast-check";
import { isLast, markLast } from "../../gateway-sample/wire/lastReply";
import { MalformedMessage, MessageReader } from "../../gateway-sample/wire/message";

const i16 = (value: number) => Buffer.from([(value >> 8) & 0xff, value & 0xff]);
const i32 = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
};
const text = (value: string) => Buffer.concat([i32(Buffer.byteLength(value)), Buffer.from(value)]);

/** A message whose argument struct has the given fields. */
function message(name: string, fields: readonly Buffer[] = [], seqid = 7): Buffer {
    return Buffer.concat([Buffer.from([0x80, 1, 0, 1]), text(name), i32(seqid), ...fields, Buffer.from([0])]);
}
const framed = (bytes: Buffer) => Buffer.concat([i32(bytes.length), bytes]);

/** Values of every type of the protocol: the type's number and the value's bytes. */
interface Value {
    readonly type: number;
    readonly bytes: Buffer;
}
const fixed = (type: number, length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => ({ type, bytes: Buffer.from(bytes) }));
const { value } = fc.letrec<{ value: Value }>((tie) => ({
    value: fc.oneof(
        { maxDepth: 3 },
        fc.oneof(fixed(2, 1), fixed(3, 1), fixed(4, 8), fixed(6, 2), fixed(8, 4), fixed(10, 8), fixed(16, 16)),
        fc.string({ unit: "grapheme" }).map((content) => ({ type: 11, bytes: text(content) })),
        fc
            .array(tie("value"), { maxLength: 4 })
            .map((fields) => ({ type: 12, bytes: Buffer.concat([...fields.map(field), Buffer.from([0])]) })),
        fc.tuple(tie("value"), fc.nat(4), fc.constantFrom(14, 15)).map(([element, count, type]) => ({
            type,
            bytes: Buffer.concat([Buffer.from([element.type]), i32(count), ...Array(count).fill(element.bytes)]),
        })),
        fc.tuple(tie("value"), tie("value"), fc.nat(3)).map(([key, element, count]) => ({
            type: 13,
            bytes: Buffer.concat([
                Buffer.from([key.type, element.type]),
                i32(count),
                ...Array(count).fill(Buffer.concat([key.bytes, element.bytes])),
            ]),
        })),
    ),
}));
const field = (one: Value) => Buffer.concat([Buffer.from([one.type]), i16(1), one.bytes]);

function readAll(reader: MessageReader, pieces: readonly Buffer[]): Buffer[] {
    const found: Buffer[] = [];
    for (const piece of pieces) {
        reader.push(piece);
        for (let next = reader.next(); next !== undefined; next = reader.next()) found.push(Buffer.from(next.bytes));
    }
    return found;
}

describe("gateway sample: messages", () => {
    it("finds every message, however the network splits them", () => {
        fc.assert(
            fc.property(
                fc.array(fc.array(value, { maxLength: 4 }), { minLength: 1, maxLength: 4 }),
                fc.boolean(),
                fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
                (structs, inFrames, sizes) => {
                    const messages = structs.map((fields, index) => message(`m${index}`, fields.map(field), index));
                    const stream = Buffer.concat(inFrames ? messages.map(framed) : messages);
                    const pieces: Buffer[] = [];
                    for (let at = 0, turn = 0; at < stream.length; turn++) {
                        const size = sizes[turn % sizes.length] as number;
                        pieces.push(Buffer.from(stream.subarray(at, at + size)));
                        at += size;
                    }
                    const reader = new MessageReader({ framed: inFrames });
                    assert.deepEqual(readAll(reader, pieces), messages);
                    assert.equal(reader.buffered, 0);
                },
            ),
            { numRuns: 300 },
        );
    });

    it("reads type, name and sequence number of a message", () => {
        const reader = new MessageReader({ framed: false });
        const bytes = message("Admin:status", [], 42);
        reader.push(bytes);
        assert.deepEqual(reader.next(), { type: 1, name: "Admin:status", seqid: 42, bytes });
        assert.equal(reader.next(), undefined);
    });

    const list = (type: number, count: number) =>
        Buffer.concat([Buffer.from([15]), i16(1), Buffer.from([type]), i32(count)]);
    let deep = Buffer.alloc(0);
    for (let depth = 0; depth < 100; depth++) deep = Buffer.concat([deep, Buffer.from([12]), i16(1)]);
    for (const [what, bytes, inFrames] of [
        ["another protocol", Buffer.from("GET / HTTP/1.1\r\n\r\n"), false],
        ["another protocol in place of a frame", Buffer.from("GET / HTTP/1.1\r\n\r\n"), true],
        ["an unframed message where frames are due", message("ping"), true],
        ["a negative length of a name", Buffer.concat([Buffer.from([0x80, 1, 0, 1]), i32(-1)]), false],
        ["a string that is too long", message("m", [Buffer.concat([Buffer.from([11]), i16(1), i32(5000)])]), false],
        ["a list that is too long", message("m", [list(8, 1000)]), false],
        ["a list of an unknown type", message("m", [list(1, 1000)]), false],
        ["an unknown type of field", message("m", [Buffer.concat([Buffer.from([9]), i16(1)])]), false],
        ["a struct nested too deep", message("m", [deep]), false],
        ["a frame that is too long", i32(2_000_000), true],
        ["a frame of a negative length", i32(-5), true],
        ["a frame longer than its message", framed(Buffer.concat([message("m"), Buffer.from([0])])), true],
        ["a frame shorter than its message", Buffer.concat([i32(10), message("mmmm")]), true],
    ] as const) {
        it(`refuses ${what}`, () => {
            const reader = new MessageReader({ framed: inFrames, maxBytes: 1000 });
            assert.throws(() => readAll(reader, [bytes]), MalformedMessage);
        });
    }

    it("rejects a message that exceeds the limit without announcing its size", () => {
        const reader = new MessageReader({ framed: false, maxBytes: 1000 });
        const short = Buffer.concat([Buffer.from([8]), i16(1), i32(1)]);
        assert.throws(() => readAll(reader, [message("m", Array(200).fill(short))]), MalformedMessage);
    });

    it("marks a last reply, which remains a valid message", () => {
        for (const inFrames of [false, true]) {
            const reply = message("echo", [field({ type: 11, bytes: text("hello") })]);
            const marked = markLast(inFrames ? framed(reply) : reply, inFrames);
            const [read] = readAll(new MessageReader({ framed: inFrames }), [marked]);
            assert(read !== undefined && isLast(read));
            assert(!isLast(reply));
        }
        assert(!isLast(message("")));
    });
});
