/**
 * The keys of the configuration: their types, limits, defaults and meanings, in one place.
 *
 * Besides validation, error messages (`problems.ts`) and the reference (`reference.ts`) are made from this schema.
 * Three properties of `meta` are ours: `allowed` overrides the text derived from the type, `example` is a valid value
 * for a key that has no default, and `unit` is what a number counts.
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
// A unit file cannot carry a line break, and an exec call no NUL.
const line = () =>
    z
        .string()
        .regex(/^[^\0\n\r]*$/)
        .meta({ allowed: "a text without line breaks" });

const install = z
    .discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("sample") }).describe("the small Thrift server of this project"),
        z
            .strictObject({
                kind: z.literal("archive"),
                url: z
                    .string()
                    .regex(/^(https?|file):\/\/\S+$/)
                    .describe("where to download it from")
                    .meta({
                        allowed: "a URL: http://, https:// or file://",
                        example: "https://example.org/server.tar.gz",
                    }),
                sha256: z
                    .string()
                    .regex(/^[0-9a-fA-F]{64}$/)
                    .describe("its checksum")
                    .meta({ allowed: "64 hexadecimal digits", example: "0".repeat(64) }),
                format: z.literal("tar.gz").default("tar.gz").describe("how it is packed"),
            })
            .describe("an archive, downloaded and unpacked on each machine"),
        z
            .strictObject({
                kind: z.literal("image"),
                reference: z
                    .string()
                    .regex(/^[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?$/)
                    .describe("the image, best with a digest")
                    .meta({ allowed: "an OCI image reference", example: "registry.example.org/server:1.0" }),
            })
            .describe("a container image (not on target local, which has no container runtime)"),
        z.strictObject({ kind: z.literal("prebaked") }).describe("the machine's image already holds it"),
    ])
    .describe("how the server gets onto a machine");

const service = z.strictObject({
    name: z
        .string()
        .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
        .default("gateway-sample")
        .describe("the name under which it is registered in Consul")
        .meta({ allowed: "a DNS label: 1 to 63 of a-z, 0-9 and -, neither first nor last a -" }),
    port: port().default(9190).describe("the TCP port on which it speaks Thrift"),
    install: install.default({ kind: "sample" }),
    argv: z
        .array(line())
        .default([])
        .describe("its command line; needed for every kind of install but sample, which has its own")
        .meta({ allowed: "a list of texts without line breaks", example: ["bin/server"] }),
    environment: z
        .record(
            z
                .string()
                .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
                .meta({ allowed: "names made of letters, digits and _, the first not a digit" }),
            line(),
        )
        .default({})
        .describe("its environment variables; no secrets, because they are stored in plain"),
    healthCheck: healthCheckSchema
        .default({ kind: "thrift", method: "ping", framed: false })
        .describe("how to tell that it serves"),
    maxConnections: count(1, 1_000_000)
        .default(1000)
        .describe(
            "the most connections that a balancer opens to one gateway; more wait in its queue; Fabio has no limit",
        ),
    stopTimeoutSeconds: seconds(1, 3600)
        .default(30)
        .describe("how long it may take to stop after SIGTERM before it is killed"),
});

/** The whole configuration, as its user writes it. */
export const configSchema = z.strictObject({
    targets: z
        .array(z.enum(TARGETS))
        .min(1)
        .describe("where to deploy; several targets make one deployment each, from the same description")
        .meta({ allowed: "one or more of local, aws and openstack, each once", example: ["local"] }),
    pool: z
        .strictObject({ size: count(1, 200).default(2).describe("how many gateways run") })
        .prefault({})
        .describe("the pool of gateways"),
    service: service.prefault({}).describe("the Thrift server that the pool runs"),
    discovery: z
        .strictObject({
            servers: z
                .literal([1, 3, 5])
                .default(3)
                .describe(
                    "how many Consul servers run (none with stack serf-haproxy); a majority has to live; 1 only on target local",
                ),
            datacenter: z
                .string()
                .regex(/^[a-z0-9_-]{1,63}$/)
                .default("dc1")
                .describe("Consul's name for the place")
                .meta({ allowed: "1 to 63 of a-z, 0-9, _ and -" }),
        })
        .prefault({})
        .describe("service discovery, by Consul; with stack serf-haproxy there is none"),
    loadBalancer: z
        .strictObject({
            stack: z
                .enum(LOAD_BALANCER_STACKS)
                .default("consul-template-haproxy")
                .describe(
                    "how members are found and balanced; on a running environment, only a change between consul-template-haproxy and fabio is possible",
                ),
            balancers: count(1, 5).default(2).describe("how many balancers run; 1 only on target local"),
            port: port().default(9190).describe("the port to which clients connect"),
            slots: count(1, 1000)
                .exactOptional()
                .describe(
                    "the most gateways a balancer can hold, old and new together during replacement; Fabio has no limit",
                )
                .meta({ example: 16, standard: "16, or twice the pool's size if that is more" }),
            drainSeconds: seconds(0, 3600)
                .default(30)
                .describe("how long the calls in flight on a gateway may go on once it is taken out"),
        })
        .prefault({})
        .describe("the balancers in front of the pool"),
    replacement: replacementSchema.prefault({}).describe("the loop that replaces dead gateways"),
    image: imageSchema.prefault({}).describe("where the machines of a cloud have their programs from"),
    aws: awsSchema.prefault({}).describe("what only target aws needs"),
    openstack: openstackSchema.prefault({}).describe("what only target openstack needs"),
    local: z
        .strictObject({
            network: z
                .string()
                .regex(/^127\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.0\/24$/)
                .refine((network) => network !== "127.0.0.0/24")
                .default("127.90.0.0/24")
                .describe("the loopback addresses that the machines get; another one for each deployment at a time")
                .meta({ allowed: "a network 127.x.y.0/24 other than 127.0.0.0/24" }),
        })
        .prefault({})
        .describe("what only target local needs"),
    secrets: secretsSchema
        .prefault({})
        .describe(
            "what the replacement loop on machines of a cloud must keep to itself; the only key to set with --secret",
        ),
    consulObjects: z
        .boolean()
        .default(true)
        .describe(
            "whether the program also makes objects inside Consul, where there is one, which needs the Pulumi plugin for Consul",
        ),
});

/** What a valid configuration says, with every default filled in. */
export type ParsedConfig = z.output<typeof configSchema>;

/** The top-level keys of the configuration, in the order in which they are explained. */
export const CONFIG_KEYS = Object.keys(configSchema.shape) as readonly (keyof ParsedConfig)[];
