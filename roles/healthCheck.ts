/**
 * How to tell that a gateway serves, and that check in HAProxy's words.
 *
 * A connect check passes a process that is stopped, because the kernel still accepts for it; so the usual check is a
 * Thrift call. Its answer has three meanings: a reply, the gateway serves; an exception, it is draining: no new
 * connections, but those that it has go on; anything else, it is broken.
 */

/** How to tell that the server on a port serves. */
export type HealthCheck =
    | {
          readonly kind: "thrift";
          /** A method without arguments. An exception as its answer means that the server is draining. */
          readonly method: string;
          /** The service's name, where several share the port (`TMultiplexedProtocol`). */
          readonly service?: string;
          /** Whether messages are preceded by their length (`TFramedTransport`). */
          readonly framed: boolean;
      }
    /** A connection. Passes a process that is stuck. */
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
/** Bytes of a message's head besides its name: version and kind, length of the name, sequence number. */
const FIXED_HEAD = 12;
/** Bytes that say a frame's length. */
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
 * A call without arguments, as it goes over the wire in the strict binary protocol, with sequence number 0.
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
 * HAProxy's directives for the check, for a section with servers that are checked; without indentation.
 *
 * Of the two expectations of a Thrift check, the first fails the check; the second has `error-status L7OKC`, which
 * HAProxy takes for "passed, but wants no new connections" (state NOLB). No other option is needed for that:
 * `http-check disable-on-404` is the same for HTTP checks only. `min-recv` makes a mismatch conclusive; without it
 * HAProxy waits for more until the check times out.
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
            // A multiplexing server answers with the name as its processor saw it, which is that without the service.
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

/** A word of HAProxy's configuration, in which nothing is interpreted. */
function quoted(word: string): string {
    return `'${word.replaceAll("'", `'"'"'`)}'`;
}
