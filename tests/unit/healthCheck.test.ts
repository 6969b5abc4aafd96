import * as assert from "node:assert/strict";
import * as fc from "fast-check";
import { readingProtocol } from "../../gateway-sample/wire/protocol";
import { haproxyCheck, thriftCall } from "../../roles/healthCheck";

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
