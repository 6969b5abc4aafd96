/**
 * The keys of the configuration: types, limits, defaults and meanings, in one place.
 *
 * This schema also produces the error messages (`problems.ts`) and the reference (`reference.ts`). Three properties of
 * `meta` are ours: `allowed` overrides the text derived from the type, `example` is a valid value for a key that has no
 * default, and `unit` is the unit of a number.
 */
import { z } from "zod";
import { awsSchema } from "./aws";
import { healthCheckSchema } from "./healthCheck";
import { imageSchema } from "./image";
import { openstackSchema, secretsSchema } from "./openstack";
import { replacementSchema } from "./replacement";

/** Where a deployment may run. */
export const TARGETS = ["local", "aws", "openstack"] as const;

/** How the pool's members are found and balanced. */
export const LOAD_BALANCER_STACKS = ["consul-template-haproxy", "fabio", "serf-haproxy"] as const;

const count = (min: number, max: number) => z.int().min(min).max(max);
const port = () => count(1, 65535);
const seconds = (min: number, max: number) => count(min, max).meta({ unit: "seconds" });
// A unit file cannot contain a line break, nor a program's argument a NUL byte.
const line = () =>
    z
        .string()
        .regex(/^[^\0\n\r]*$/)
        .meta({ allowed: "a string without line breaks" });

const install = z
    .discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("sample") }).describe("this project's small Thrift server"),
        z
            .strictObject({
                kind: z.literal("archive"),
                url: z
                    .string()
                    .regex(/^(https?|file):\/\/\S+$/)
                    .describe("the URL of the archive")
                    .meta({
                        allowed: "a URL: http://, https:// or file://",
                        example: "https://example.org/server.tar.gz",
                    }),
                sha256: z
                    .string()
                    .regex(/^[0-9a-fA-F]{64}$/)
                    .describe("the archive's SHA-256 checksum")
                    .meta({ allowed: "64 hexadecimal digits", example: "0".repeat(64) }),
                format: z.literal("tar.gz").default("tar.gz").describe("the archive's format"),
            })
            .describe("an archive that each machine downloads and unpacks"),
        z
            .strictObject({
                kind: z.literal("image"),
                reference: z
                    .string()
                    .regex(/^[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?$/)
                    .describe("the image, preferably with a digest")
                    .meta({ allowed: "an OCI image reference", example: "registry.example.org/server:1.0" }),
            })
            .describe("a container image; not on target local, which has no container runtime"),
        z.strictObject({ kind: z.literal("prebaked") }).describe("the machine's image already contains the server"),
    ])
    .describe("how the server gets onto a machine");

const service = z.strictObject({
    name: z
        .string()
        .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
        .default("gateway-sample")
        .describe("the name under which Consul registers it")
        .meta({ allowed: "a DNS label: 1 to 63 of a-z, 0-9 and -, neither first nor last a -" }),
    port: port().default(9190).describe("the TCP port on which it speaks Thrift"),
    install: install.default({ kind: "sample" }),
    argv: z
        .array(line())
        .default([])
        .describe("the command line; required for every kind of install except sample, which has its own")
        .meta({ allowed: "a list of strings without line breaks", example: ["bin/server"] }),
    environment: z
        .record(
            z
                .string()
                .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
                .meta({ allowed: "names made of letters, digits and _, the first not a digit" }),
            line(),
        )
        .default({})
        .describe("environment variables; no secrets, because they are stored in plain text"),
    healthCheck: healthCheckSchema.prefault({ kind: "thrift", method: "ping" }).describe("how to check that it serves"),
    checks: z
        .strictObject({
            preset: z
                .enum(["fast", "tolerant"])
                .default("fast")
                .describe(
                    "`fast`: a gateway that hangs is out of service within a second, and its calls are ended; `tolerant`: a gateway may pause for 4 seconds, and is out of service within 14",
                ),
            intervalMilliseconds: count(50, 60_000)
                .exactOptional()
                .describe("the time between checks of a gateway on its machine")
                .meta({ unit: "milliseconds", example: 500, standard: "100; `tolerant`: 1000" }),
            timeoutMilliseconds: count(50, 60_000)
                .exactOptional()
                .describe("how long a check may take")
                .meta({ unit: "milliseconds", example: 1000, standard: "275; `tolerant`: 4000" }),
            failures: count(1, 100)
                .exactOptional()
                .describe("the number of consecutive failures until a gateway is out of service")
                .meta({ example: 3, standard: "2; `tolerant`: 3" }),
            cutSessions: z
                .boolean()
                .exactOptional()
                .describe("whether the balancers end the connections of a gateway that is out of service")
                .meta({ example: true, standard: "`true`; `tolerant`: `false`" }),
        })
        .prefault({})
        .describe("how soon a gateway that fails its health check is out of service; Fabio ignores cutSessions"),
    maxConnections: count(1, 1_000_000)
        .default(1000)
        .describe(
            "the maximum number of connections from one balancer to one gateway; further ones wait in the balancer's queue; Fabio ignores this",
        ),
    queueSeconds: seconds(1, 3600)
        .default(1)
        .describe("how long a connection may wait in a balancer's queue; then it is closed; Fabio ignores this"),
    maxQueue: count(0, 1_000_000)
        .exactOptional()
        .describe(
            "the maximum number of connections that wait in a balancer's queue; further ones are closed at once, and counted as denied; Fabio ignores this",
        )
        .meta({ example: 100, standard: "no limit" }),
    idleSeconds: seconds(1, 86_400)
        .default(3600)
        .describe(
            "how long a client's connection may be idle before the balancer closes it; an idle connection counts towards maxConnections; Fabio ignores this",
        ),
    stopTimeoutSeconds: seconds(1, 3600)
        .default(30)
        .describe("how long the server may take to stop after SIGTERM; after that it is killed"),
});

/** The whole configuration, as the user writes it. */
export const configSchema = z.strictObject({
    targets: z
        .array(z.enum(TARGETS))
        .min(1)
        .describe("where to deploy; with several targets, each gets a deployment of its own from the same description")
        .meta({ allowed: "one or more of local, aws and openstack, each once", example: ["local"] }),
    pool: z
        .strictObject({ size: count(1, 200).default(2).describe("the number of gateways") })
        .prefault({})
        .describe("the pool of gateways"),
    service: service.prefault({}).describe("the Thrift server that the pool runs"),
    discovery: z
        .strictObject({
            servers: z
                .literal([1, 3, 5])
                .default(3)
                .describe(
                    "the number of Consul servers, of which a majority has to be alive; 1 only on target local; not used with stack serf-haproxy",
                ),
            datacenter: z
                .string()
                .regex(/^[a-z0-9_-]{1,63}$/)
                .default("dc1")
                .describe("the name of Consul's datacenter")
                .meta({ allowed: "1 to 63 of a-z, 0-9, _ and -" }),
        })
        .prefault({})
        .describe("service discovery with Consul; not used with stack serf-haproxy"),
    loadBalancer: z
        .strictObject({
            stack: z
                .enum(LOAD_BALANCER_STACKS)
                .default("consul-template-haproxy")
                .describe(
                    "how gateways are found and balanced; a running environment can change only between consul-template-haproxy and fabio",
                ),
            balancers: count(1, 5).default(2).describe("the number of balancers; 1 only on target local"),
            port: port().default(9190).describe("the port to which clients connect"),
            slots: count(1, 1000)
                .exactOptional()
                .describe(
                    "the maximum number of gateways that a balancer can hold, including old and new ones during a replacement; Fabio ignores this",
                )
                .meta({ example: 16, standard: "16, or twice the pool's size if that is more" }),
            drainSeconds: seconds(0, 3600)
                .default(30)
                .describe("how long calls in flight may continue on a gateway that is taken out of service"),
        })
        .prefault({})
        .describe("the balancers in front of the pool"),
    replacement: replacementSchema.prefault({}).describe("the loop that replaces dead gateways"),
    image: imageSchema.prefault({}).describe("where cloud machines get their programs"),
    aws: awsSchema.prefault({}).describe("settings of target aws"),
    openstack: openstackSchema.prefault({}).describe("settings of target openstack"),
    local: z
        .strictObject({
            network: z
                .string()
                .regex(/^127\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.0\/24$/)
                .refine((network) => network !== "127.0.0.0/24")
                .default("127.90.0.0/24")
                .describe(
                    "the loopback addresses of the machines; deployments that run at the same time need different networks",
                )
                .meta({ allowed: "a network 127.x.y.0/24 other than 127.0.0.0/24" }),
        })
        .prefault({})
        .describe("settings of target local"),
    secrets: secretsSchema
        .prefault({})
        .describe("secrets of the replacement loop on cloud machines; the only key to set with --secret"),
    consulObjects: z
        .boolean()
        .default(true)
        .describe(
            "whether the program also creates objects in Consul, which needs the Pulumi plugin for Consul; no effect without Consul",
        ),
});

/** A valid configuration, with every default filled in. */
export type ParsedConfig = z.output<typeof configSchema>;

/** The top-level keys of the configuration, in the order in which they are explained. */
export const CONFIG_KEYS = Object.keys(configSchema.shape) as readonly (keyof ParsedConfig)[];
