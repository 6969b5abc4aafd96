/** The schema of `gateway:service.healthCheck`; its type is that of `roles/healthCheck.ts`. */
import { z } from "zod";
import type { ThriftField } from "../roles/healthCheck";

const identifier = (example: string) =>
    z
        .string()
        .regex(/^[A-Za-z_][\w.]*$/)
        .meta({ allowed: "a Thrift identifier", example });

/** How deep structures may be nested in an argument. */
const DEPTH = 3;

/** A field of a structure, or an argument: its number, its type and its value. */
function field(depth: number): z.ZodType<ThriftField> {
    const head = { id: z.int().min(-32768).max(32767).describe("its number in the interface definition") };
    const whole = (bits: number) =>
        z
            .int()
            .min(-(2 ** (bits - 1)))
            .max(2 ** (bits - 1) - 1);
    const scalars = [
        z.strictObject({ ...head, kind: z.literal("bool"), value: z.boolean() }),
        z.strictObject({ ...head, kind: z.literal("i8"), value: whole(8) }),
        z.strictObject({ ...head, kind: z.literal("i16"), value: whole(16) }),
        z.strictObject({ ...head, kind: z.literal("i32"), value: whole(32) }),
        z.strictObject({ ...head, kind: z.literal("i64"), value: z.int() }),
        z.strictObject({ ...head, kind: z.literal("double"), value: z.number() }),
        z.strictObject({ ...head, kind: z.literal("string"), value: z.string() }),
    ] as const;
    if (depth === 0) return z.discriminatedUnion("kind", scalars);
    return z.discriminatedUnion("kind", [
        ...scalars,
        z.strictObject({ ...head, kind: z.literal("struct"), fields: z.array(field(depth - 1)) }),
    ]);
}

/** How to tell that the service serves. */
export const healthCheckSchema = z.discriminatedUnion("kind", [
    z
        .strictObject({
            kind: z.literal("thrift"),
            method: identifier("ping").describe("the method to call"),
            arguments: z
                .array(field(DEPTH))
                .exactOptional()
                .describe("its arguments; no secrets, because they are stored in plain text")
                .meta({
                    allowed:
                        "a list of maps { id, kind, value }, where kind is bool, i8, i16, i32, i64, double or string, or { id, kind: struct, fields }",
                    example: [],
                    standard: "none",
                }),
            exception: z
                .enum(["draining", "healthy"])
                .exactOptional()
                .describe(
                    "what it means when the server answers with an exception that the method does not declare, such as an unknown method or a missing argument: `draining`, it wants no new connections; `healthy`, it serves, for servers that cannot drain by themselves",
                )
                .meta({ standard: "`draining`" }),
            service: identifier("Gateway")
                .exactOptional()
                .describe("the service's name, if several share the port (multiplexed protocol)"),
            framed: z.boolean().default(false).describe("whether the server uses the framed transport"),
        })
        .describe("a Thrift call in the binary protocol"),
    z.strictObject({ kind: z.literal("tcp") }).describe("a TCP connection; a process that hangs passes it"),
    z
        .strictObject({
            kind: z.literal("http"),
            path: z
                .string()
                .regex(/^\/[\x21-\x7e]*$/)
                .describe("the path to GET")
                .meta({ allowed: "a path that begins with /", example: "/health" }),
            status: z
                .int()
                .min(100)
                .max(599)
                .exactOptional()
                .describe("the status that means healthy")
                .meta({ standard: "any from 200 to 299" }),
        })
        .describe("an HTTP request on the service's port"),
]);
