import * as assert from "node:assert/strict";
import * as fc from "fast-check";
import { Thrift } from "thrift";
import { readingProtocol } from "../../gateway-sample/wire/protocol";
import { haproxyCheck, type ThriftField, thriftCall } from "../../roles/healthCheck";

/** The regular expressions of the two expectations. HAProxy applies them to the answer's upper-case hex dump. */
function expectations(directives: readonly string[]) {
    return directives
        .filter((line) => line.startsWith("tcp-check expect"))
        .map((line) => ({
            minimum: Number(/min-recv (\d+)/.exec(line)?.[1]),
            conditional: line.includes("error-status L7OKC"),
            regex: new RegExp(/rbinary (\S+)$/.exec(line)?.[1] ?? ""),
        }));
}

function message(type: number, name: string, framed: boolean, body = Buffer.from([0])): Buffer {
    const head = Buffer.alloc(8);
    head.writeUInt32BE((0x80010000 | type) >>> 0, 0);
    head.writeUInt32BE(Buffer.byteLength(name), 4);
    const whole = Buffer.concat([head, Buffer.from(name), Buffer.alloc(4), body]);
    const frame = Buffer.alloc(4);
    frame.writeUInt32BE(whole.length);
    return framed ? Buffer.concat([frame, whole]) : whole;
}

/** An argument of any type, with structures nested up to a depth. */
function anyField(depth: number): fc.Arbitrary<ThriftField> {
    const id = fc.integer({ min: -32768, max: 32767 });
    const whole = (bits: number) => fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });
    const scalars: fc.Arbitrary<ThriftField>[] = [
        fc.record({ id, kind: fc.constant("bool" as const), value: fc.boolean() }),
        fc.record({ id, kind: fc.constant("i8" as const), value: whole(8) }),
        fc.record({ id, kind: fc.constant("i16" as const), value: whole(16) }),
        fc.record({ id, kind: fc.constant("i32" as const), value: whole(32) }),
        fc.record({ id, kind: fc.constant("i64" as const), value: fc.maxSafeInteger() }),
        fc.record({ id, kind: fc.constant("double" as const), value: fc.double({ noNaN: true }) }),
        fc.record({ id, kind: fc.constant("string" as const), value: fc.string({ unit: "grapheme" }) }),
    ];
    if (depth === 0) return fc.oneof(...scalars);
    const fields = fc.array(anyField(depth - 1), { maxLength: 3 });
    return fc.oneof(...scalars, fc.record({ id, kind: fc.constant("struct" as const), fields }));
}

/** Reads a structure with the Thrift library. */
function readStructure(input: ReturnType<typeof readingProtocol>): ThriftField[] {
    const fields: ThriftField[] = [];
    input.readStructBegin();
    for (;;) {
        const { ftype, fid: id } = input.readFieldBegin();
        if (ftype === Thrift.Type.STOP) return fields;
        switch (ftype) {
            case Thrift.Type.BOOL:
                fields.push({ id, kind: "bool", value: input.readBool() });
                break;
            case Thrift.Type.BYTE:
                fields.push({ id, kind: "i8", value: (input.readByte() << 24) >> 24 });
                break;
            case Thrift.Type.I16:
                fields.push({ id, kind: "i16", value: input.readI16() });
                break;
            case Thrift.Type.I32:
                fields.push({ id, kind: "i32", value: input.readI32() });
                break;
            case Thrift.Type.I64:
                fields.push({ id, kind: "i64", value: input.readI64().toNumber() });
                break;
            case Thrift.Type.DOUBLE:
                fields.push({ id, kind: "double", value: input.readDouble() });
                break;
            case Thrift.Type.STRING:
                fields.push({ id, kind: "string", value: String(input.readString()) });
                break;
            case Thrift.Type.STRUCT:
                fields.push({ id, kind: "struct", fields: readStructure(input) });
                break;
            default:
                throw new Error(`unexpected type ${ftype}`);
        }
    }
}

describe("the health check", () => {
    it("encodes calls as in the protocol's specification", () => {
        assert.equal(thriftCall("ping", true).toString("hex"), "00000011800100010000000470696e670000000000");
        assert.equal(thriftCall("ping", false).toString("hex"), "800100010000000470696e670000000000");
        assert.equal(
            thriftCall("Api:ping", false).toString("hex"),
            `8001000100000008${Buffer.from("Api:ping").toString("hex")}0000000000`,
        );
    });

    it("encodes calls that the Thrift library reads", () => {
        fc.assert(
            fc.property(fc.stringMatching(/^[A-Za-z_][\w.]{0,40}(:[A-Za-z_]\w{0,20})?$/), (name) => {
                const read = readingProtocol(thriftCall(name, false)).readMessageBegin();
                assert.deepEqual([read.fname, read.mtype, read.rseqid], [name, 1, 0]);
            }),
        );
    });

    it("encodes arguments that the Thrift library reads", () => {
        fc.assert(
            fc.property(fc.array(anyField(2), { maxLength: 5 }), (fields) => {
                const input = readingProtocol(thriftCall("call", false, fields));
                input.readMessageBegin();
                // The generator's objects have no prototype.
                assert.deepEqual(readStructure(input), structuredClone(fields));
            }),
        );
    });

    it("takes an exception for healthy if it is told to, and nothing else", () => {
        const check = { kind: "thrift", method: "ping", framed: false, exception: "healthy" } as const;
        const [only, ...more] = expectations(haproxyCheck(check));
        assert.deepEqual(more, []);
        const passes = (answer: Buffer) => only?.regex.test(answer.toString("hex").toUpperCase());
        assert.deepEqual(
            [message(2, "ping", false), message(3, "ping", false), message(3, "pong", false)].map(passes),
            [true, true, false],
        );
        assert.equal(only?.conditional, false);
    });

    for (const framed of [false, true]) {
        for (const service of [undefined, "Airavata"]) {
            const what = `${framed ? "framed" : "unframed"}, ${service ? "multiplexed" : "plain"}`;
            describe(what, () => {
                const check = { kind: "thrift", method: "ping", framed, ...(service ? { service } : {}) } as const;
                const [ours, reply] = expectations(haproxyCheck(check));
                assert.ok(ours && reply);
                const matches = (answer: Buffer) => {
                    const dump = answer.toString("hex").toUpperCase();
                    return [ours.regex.test(dump), reply.regex.test(dump)];
                };

                it("passes a reply, whether the name is the processor's or the client's", () => {
                    assert.deepEqual(matches(message(2, "ping", framed)), [true, true]);
                    if (service) assert.deepEqual(matches(message(2, `${service}:ping`, framed)), [true, true]);
                });

                it("passes an exception, but allows no new connections", () => {
                    assert.deepEqual(matches(message(3, "ping", framed)), [true, false]);
                    assert.deepEqual([ours.conditional, reply.conditional], [false, true]);
                });

                it("fails on everything else", () => {
                    const others = [
                        message(1, "ping", framed),
                        message(4, "ping", framed),
                        message(2, "pong", framed),
                        message(2, "pin", framed),
                        message(2, "xping", framed),
                        message(2, "ping", !framed),
                        Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
                        Buffer.concat([Buffer.alloc(1), message(2, "ping", framed)]),
                    ];
                    for (const other of others) assert.equal(matches(other)[0], false, other.toString("hex"));
                });

                it("waits for as many bytes as a decision needs", () => {
                    const shortest = message(3, "ping", framed, Buffer.alloc(0));
                    assert.deepEqual([ours.minimum, reply.minimum], [shortest.length, shortest.length]);
                    assert.equal(matches(shortest)[0], true);
                });
            });
        }
    }

    it("only connects if the kind is tcp", () => {
        assert.deepEqual(haproxyCheck({ kind: "tcp" }), ["option tcp-check", "tcp-check connect linger"]);
    });

    it("sends a request if the kind is http", () => {
        const directives = haproxyCheck({ kind: "http", path: "/it's", status: 204 });
        assert.ok(directives.includes("http-check expect status 204"));
        assert.match(directives.join("\n"), /uri '\/it'"'"'s' /);
        assert.ok(haproxyCheck({ kind: "http", path: "/" }).includes("http-check expect status 200-299"));
    });
});
