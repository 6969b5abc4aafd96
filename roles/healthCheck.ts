/**
 * How to tell that a gateway serves, and the same check in the configuration of the HAProxy that is its health endpoint.
 *
 * A TCP check passes for a process that is stopped, because the kernel still accepts connections for it. The usual
 * check is therefore a Thrift call. A reply means that the gateway serves. An exception means that it is draining: no
 * new connections, but existing ones go on. Anything else means that it is broken.
 */

/** How to tell that the server on a port serves. */
export type HealthCheck =
    | {
          readonly kind: "thrift";
          readonly method: string;
          /** Default: none. */
          readonly arguments?: readonly ThriftField[];
          /**
           * What it means when the server answers with an exception that the method does not declare. `draining`: it wants no
           * new connections. `healthy`: it serves, as for a server whose methods all need arguments. Default `draining`.
           */
          readonly exception?: "draining" | "healthy";
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

/** An argument of a Thrift call, or a field of a structure: its number in the interface definition, its type, its value. */
export type ThriftField = { readonly id: number } & (
    | { readonly kind: "bool"; readonly value: boolean }
    | { readonly kind: "i8" | "i16" | "i32" | "i64" | "double"; readonly value: number }
    | { readonly kind: "string"; readonly value: string }
    | { readonly kind: "struct"; readonly fields: readonly ThriftField[] }
);

/** How soon a gateway that fails its checks is down, and what becomes of its connections. */
export interface CheckPace {
    /** Milliseconds between checks. */
    readonly every: number;
    /** Milliseconds between checks after a failure. */
    readonly again: number;
    /** Milliseconds that a check may take. */
    readonly timeout: number;
    /** Consecutive failures until the gateway is down. */
    readonly failures: number;
    /** Whether the balancers end the connections of a gateway that is down. */
    readonly cutsSessions: boolean;
}

/**
 * Presets. `fast`: a gateway that hangs is found within 100 + 275 + 25 + 275 = 675 ms, and calls that wait for it end, so that
 * clients repeat them. `tolerant`: pauses of less than 4 s, such as those of a JVM that collects garbage, fail no check and cost no
 * call; a gateway that hangs is found within 1 + 4 + 0.5 + 4 + 0.5 + 4 = 14 s, and its calls wait for it.
 */
export const checkPaces = {
    fast: { every: 100, again: 25, timeout: 275, failures: 2, cutsSessions: true },
    tolerant: { every: 1_000, again: 500, timeout: 4_000, failures: 3, cutsSessions: false },
} as const satisfies Record<string, CheckPace>;

/** A preset, and what differs from it. */
export interface CheckSettings {
    /** Default `fast`. */
    readonly preset?: keyof typeof checkPaces;
    readonly intervalMilliseconds?: number;
    readonly timeoutMilliseconds?: number;
    readonly failures?: number;
    readonly cutSessions?: boolean;
}

/** The pace that settings mean. */
export function checkPace({ preset = "fast", ...own }: CheckSettings = {}): CheckPace {
    const pace = checkPaces[preset];
    const every = own.intervalMilliseconds ?? pace.every;
    return {
        every,
        again: Math.min(pace.again, every),
        timeout: own.timeoutMilliseconds ?? pace.timeout,
        failures: own.failures ?? pace.failures,
        cutsSessions: own.cutSessions ?? pace.cutsSessions,
    };
}

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

/** Numbers of the types in the binary protocol, `TType`. */
const TYPES = { bool: 2, i8: 3, double: 4, i16: 6, i32: 8, i64: 10, string: 11, struct: 12 } as const;

/** A structure: each field with its type and number, then a zero. The arguments of a call are one, too. */
function structure(fields: readonly ThriftField[]): Buffer {
    const parts = fields.flatMap((field) => {
        const head = Buffer.alloc(3);
        head.writeUInt8(TYPES[field.kind]);
        head.writeInt16BE(field.id, 1);
        return [head, fieldValue(field)];
    });
    return Buffer.concat([...parts, Buffer.from([0])]);
}

function fieldValue(field: ThriftField): Buffer {
    const number = (size: number, write: (bytes: Buffer) => unknown) => {
        const bytes = Buffer.alloc(size);
        write(bytes);
        return bytes;
    };
    switch (field.kind) {
        case "bool":
            return Buffer.from([field.value ? 1 : 0]);
        case "i8":
            return number(1, (bytes) => bytes.writeInt8(field.value));
        case "i16":
            return number(2, (bytes) => bytes.writeInt16BE(field.value));
        case "i32":
            return number(4, (bytes) => bytes.writeInt32BE(field.value));
        case "i64":
            return number(8, (bytes) => bytes.writeBigInt64BE(BigInt(field.value)));
        case "double":
            return number(8, (bytes) => bytes.writeDoubleBE(field.value));
        case "string": {
            const text = Buffer.from(field.value, "utf8");
            return Buffer.concat([number(4, (bytes) => bytes.writeInt32BE(text.length)), text]);
        }
        case "struct":
            return structure(field.fields);
    }
}

/**
 * A call in the strict binary protocol, with sequence number 0.
 *
 * @param name the method, with `Service:` before it where services are multiplexed.
 * @see https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md
 */
export function thriftCall(name: string, framed: boolean, fields: readonly ThriftField[] = []): Buffer {
    const sequence = Buffer.alloc(4);
    const message = Buffer.concat([messageStart(CALL, name), sequence, structure(fields)]);
    if (!framed) return message;
    const length = Buffer.alloc(FRAME_HEAD);
    length.writeUInt32BE(message.length);
    return Buffer.concat([length, message]);
}

/** Bytes between a message's header and the text of an exception that its method does not declare: type, number, length. */
const EXCEPTION_HEAD = 7;
/** Bytes of an answer that the log of a failed check shows. */
const SHOWN_BYTES = 100;

/**
 * What a failed check says in HAProxy's log: the exception's text, if the answer is one, and the answer's beginning.
 *
 * @param head bytes before the exception.
 */
function sayAnswer(head: number): string {
    const text = `%[res.payload(${head + EXCEPTION_HEAD},0),regsub([^ -~]+,.,g)]`;
    const bytes = `%[res.payload(0,0),bytes(0,${SHOWN_BYTES}),hex]`;
    return `on-error "the server answered '${text}' (hexadecimal ${bytes})"`;
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
            const say = sayAnswer(enough);
            const isDraining = check.exception !== "healthy";
            return [
                "option tcp-check",
                "tcp-check connect linger",
                `tcp-check send-binary ${thriftCall(call, check.framed, check.arguments).toString("hex")}`,
                `${expect} comment answer ${say} rbinary ^${frame}${kinds(REPLY, EXCEPTION)}(${anyName})`,
                ...(isDraining
                    ? [`${expect} comment draining ${say} error-status L7OKC rbinary ^${frame}${kinds(REPLY)}`]
                    : []),
            ];
        }
    }
}

/** A word of HAProxy's configuration, quoted so that HAProxy interprets nothing in it. */
function quoted(word: string): string {
    return `'${word.replaceAll("'", `'"'"'`)}'`;
}
