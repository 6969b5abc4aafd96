/** The schema of `gateway:service.healthCheck`; its type is that of `roles/healthCheck.ts`. */
import { z } from "zod";

const identifier = (example: string) =>
    z
        .string()
        .regex(/^[A-Za-z_][\w.]*$/)
        .meta({ allowed: "a Thrift identifier", example });

/** How to tell that the service serves. */
export const healthCheckSchema = z.discriminatedUnion("kind", [
    z
        .strictObject({
            kind: z.literal("thrift"),
            method: identifier("ping").describe("the method to call; it takes no arguments"),
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
