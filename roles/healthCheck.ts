/**
 * How to tell that a gateway serves, and the same check in HAProxy's configuration.
 *
 * A TCP check passes for a process that is stopped, because the kernel still accepts connections for it. The usual
 * check is therefore a Thrift call. A reply means that the gateway serves. An exception means that it is draining: no
 * new connections, but existing ones go on. Anything else means that it is broken.
 */

/** How to tell that the server on a port serves. */
export type HealthCheck =
    | {
          readonly kind: "thrift";
          /** A method without arguments. If it answers with an exception, the server is draining. */
          readonly method: string;
          /** The service's name, where several share the port (`TMultiplexedProtocol`). */
          readonly service?: string;
          /** Whether messages are preceded by their length (`TFramedTransport`). */
          readonly framed: boolean;
      }
    /** A TCP connection. It passes for a process that is stuck. */
    | { readonly kind: "tcp" }
    | {
          readonly kind: "http";
          readonly path: string;
          /** The status that means healthy. Default: any from 200 to 299. 404 means draining. */
          readonly status?: number;
      };

/** Thrift's strict binary protocol, version 1: the upper half of the first four bytes. */
const VERSION = 0x8001_0000;
/** Kinds of messages, `TMessageType`. */
const CALL = 1;
const REPLY = 2;
const EXCEPTION = 3;
/** Bytes of a message's header besides its name: version and kind, length of the name, sequence number. */
const FIXED_HEAD = 12;
/** Bytes of a frame's length. */
const FRAME_HEAD = 4;

/** Beginning of a message, up to and including its name. */
function messageStart(type: number, name: string): Buffer {
    const encoded = Buffer.from(name, "utf8");
    const start = Buffer.alloc(8);
    start.writeUInt32BE((VERSION | type) >>> 0, 0);
    start.writeUInt32BE(encoded.length, 4);
    return Buffer.concat([start, encoded]);
}

/**
 * A call without arguments in the strict binary protocol, with sequence number 0.
 *
 * @param name the method, with `Service:` before it where services are multiplexed.
 */
export function thriftCall(name: string, framed: boolean): Buffer {
    const sequence = Buffer.alloc(4);
    const noArguments = Buffer.from([0]); // the end of a structure without fields
    const message = Buffer.concat([messageStart(CALL, name), sequence, noArguments]);
    if (!framed) return message;
    const length = Buffer.alloc(FRAME_HEAD);
    length.writeUInt32BE(message.length);
    return Buffer.concat([length, message]);
}

const hex = (bytes: Buffer) => bytes.toString("hex").toUpperCase();

/**
 * HAProxy's directives for the check, without indentation, for a section with checked servers.
 *
 * A Thrift check has two expectations. The first fails the check. The second has `error-status L7OKC`, which HAProxy
 * takes for "passed, but wants no new connections" (state NOLB); `http-check disable-on-404` does the same for HTTP
 * checks. `min-recv` makes a mismatch conclusive: without it HAProxy waits for more bytes until the check times out.
 */
export function haproxyCheck(check: HealthCheck): string[] {
    switch (check.kind) {
        case "tcp":
            return ["option tcp-check", "tcp-check connect linger"];
        case "http":
            return [
                "option httpchk",
                `http-check send meth GET uri ${quoted(check.path)} ver HTTP/1.1 hdr Host gateway hdr Connection close`,
                `http-check expect status ${check.status ?? "200-299"}`,
                "http-check disable-on-404",
            ];
        case "thrift": {
            const call = check.service === undefined ? check.method : `${check.service}:${check.method}`;
            // A multiplexing server answers with the method's name alone, without the service's.
            const names = [...new Set([check.method, call])];
            const anyName = names.map((name) => hex(messageStart(0, name)).slice(8)).join("|");
            const frame = check.framed ? `[0-9A-F]{${2 * FRAME_HEAD}}` : "";
            const kinds = (...types: readonly number[]) => `8001000[${types.join("")}]`;
            const enough = (check.framed ? FRAME_HEAD : 0) + FIXED_HEAD + Buffer.byteLength(check.method);
            const expect = `tcp-check expect min-recv ${enough}`;
            return [
                "option tcp-check",
                "tcp-check connect linger",
                `tcp-check send-binary ${thriftCall(call, check.framed).toString("hex")}`,
                `${expect} comment answer rbinary ^${frame}${kinds(REPLY, EXCEPTION)}(${anyName})`,
                `${expect} comment draining error-status L7OKC rbinary ^${frame}${kinds(REPLY)}`,
            ];
        }
    }
}

/** A word of HAProxy's configuration, quoted so that HAProxy interprets nothing in it. */
function quoted(word: string): string {
    return `'${word.replaceAll("'", `'"'"'`)}'`;
}
