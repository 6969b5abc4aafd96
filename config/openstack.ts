/** The schemas of `gateway:openstack`, the settings of target openstack, and of `gateway:secrets`. */
import { z } from "zod";

const OCTET = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
/** An IPv4 network in CIDR notation, as well as a pattern can check it. */
const CIDR = new RegExp(`^(${OCTET}\\.){3}${OCTET}/(3[0-2]|[12]?\\d)$`);
const ADDRESS = new RegExp(`^(${OCTET}\\.){3}${OCTET}$`);

/**
 * The first of the deployment's addresses in an own network. Neutron's own ports (DHCP, Octavia) use those before it.
 */
export const FIRST_HOST = 10;

/** How Nova's scheduler places the servers of a group: on different hosts if it can, or only on different hosts. */
const SERVER_GROUP_POLICIES = ["soft-anti-affinity", "anti-affinity"] as const;

/**
 * The usual ports of OpenStack's APIs: identity, compute, placement, images, network, load balancers, volumes, and
 * HTTPS.
 */
const API_PORTS = [443, 5000, 8774, 8776, 8778, 9292, 9696, 9876];

const uuid = (what: string) =>
    z
        .string()
        .regex(/^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$/i)
        .meta({ allowed: `the id of ${what}, a UUID`, example: "00000000-0000-4000-8000-000000000000" });

const name = (what: string, example: string) =>
    z
        .string()
        .regex(/^\S(.{0,253}\S)?$/)
        .meta({ allowed: `the name of ${what}`, example });

const network = z
    .discriminatedUnion("kind", [
        z
            .strictObject({
                kind: z.literal("own"),
                cidr: z
                    .string()
                    .regex(new RegExp(`^(${OCTET}\\.){3}${OCTET}/(1[6-9]|2[0-4])$`))
                    .default("10.30.0.0/24")
                    .describe("the network's addresses")
                    .meta({ allowed: "an IPv4 network from /16 to /24" }),
                dnsServers: z
                    .array(z.string().regex(ADDRESS).meta({ allowed: "an IPv4 address" }))
                    .default([])
                    .describe("the machines' name servers; if empty, the cloud's own")
                    .meta({ allowed: "a list of IPv4 addresses", example: ["198.51.100.53"] }),
            })
            .describe("a network that the deployment creates, with a router to externalNetwork"),
        z
            .strictObject({
                kind: z.literal("given"),
                networkId: uuid("a network").describe("the network"),
                subnetId: uuid("a subnet").describe(
                    "the machines' subnet in that network; it needs a way out, for what machines fetch",
                ),
                firstHost: z
                    .int()
                    .min(2)
                    .max(60_000)
                    .default(FIRST_HOST)
                    .describe(
                        "the first of the deployment's addresses, counted from the beginning of the subnet; pool.size + 40 addresses have to be free from there on, preferably outside the allocation pools",
                    ),
            })
            .describe("an existing network"),
    ])
    .describe("the network");

const frontend = z
    .discriminatedUnion("kind", [
        z
            .strictObject({
                kind: z.literal("keepalived"),
                virtualRouterId: z
                    .int()
                    .min(1)
                    .max(255)
                    .default(51)
                    .describe("the VRRP router id; each deployment in one network needs a different one"),
            })
            .describe("one address, which one of the balancers holds at a time (VRRP)"),
        z
            .strictObject({
                kind: z.literal("octavia"),
                provider: name("a provider of Octavia", "amphora")
                    .exactOptional()
                    .describe("the Octavia provider")
                    .meta({ standard: "the cloud's default" }),
            })
            .describe("the cloud's own load balancer in front of the balancers"),
    ])
    .describe("what clients call");

const loop = z
    .strictObject({
        authUrl: z
            .string()
            .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/)
            .describe("the URL at which the machines reach the identity service")
            .meta({ allowed: "a URL: http:// or https://", example: "https://cloud.example.org:5000/v3" }),
        credentialId: z
            .string()
            .regex(/^[0-9a-f]{32}$/)
            .describe(
                "the id of the loop's application credential; its secret is gateway:secrets.replacerCredentialSecret",
            )
            .meta({
                allowed: "the id of an application credential, 32 hexadecimal digits",
                example: "0".repeat(32),
            }),
        stateBackend: z
            .string()
            .regex(/^s3:\/\/[^\s/]+\S*$/)
            .describe(
                "the bucket with the stack's state, as the machines reach it; deployments from elsewhere have to use the same one (PULUMI_BACKEND_URL)",
            )
            .meta({
                allowed: "the URL of a bucket, s3://BUCKET?endpoint=HOST:PORT&…",
                example: "s3://gateway-state?region=us-east-1&endpoint=object-store.example.org&s3ForcePathStyle=true",
            }),
        allowPlainHttp: z
            .boolean()
            .default(false)
            .describe(
                "whether authUrl and stateBackend may be http:// to another host, so that everybody on the way reads the loop's secrets",
            ),
    })
    .exactOptional()
    .describe("what the replacement loop needs on the machines; required if replacement.enabled is true");

/** The settings of target openstack. */
export const openstackSchema = z.strictObject({
    cloud: name("a cloud in clouds.yaml", "openstack")
        .exactOptional()
        .describe("the cloud's name in clouds.yaml; it has to log in with an application credential")
        .meta({ standard: "must be set on target openstack" }),
    region: name("a region", "RegionOne")
        .exactOptional()
        .describe("the region")
        .meta({ standard: "that of clouds.yaml" }),
    network: network.prefault({ kind: "own" }),
    externalNetwork: name("an external network", "public")
        .exactOptional()
        .describe("the external network of the router and of the floating IP")
        .meta({ standard: "must be set for an own network or a floating IP" }),
    floatingIp: z
        .boolean()
        .default(true)
        .describe("whether clients call a floating IP; otherwise they call an address of the network"),
    clientCidrs: z
        .array(z.string().regex(CIDR).meta({ allowed: "an IPv4 network such as 203.0.113.0/24" }))
        .default([])
        .describe("who may call the gateway; by default nobody outside the deployment")
        .meta({ allowed: "a list of IPv4 networks such as 203.0.113.0/24", example: ["203.0.113.0/24"] }),
    frontend: frontend.prefault({ kind: "keepalived" }),
    imageId: uuid("an image")
        .exactOptional()
        .describe(
            "the machines' image: Debian 12, Ubuntu 24.04, or one built from them; an id, because a name may mean another image later, and the loop would then find every machine changed",
        )
        .meta({ standard: "must be set on target openstack" }),
    flavor: name("a flavor", "m1.small")
        .exactOptional()
        .describe("the gateways' flavor, x86-64")
        .meta({ standard: "must be set on target openstack" }),
    fixedFlavor: name("a flavor", "m1.small")
        .exactOptional()
        .describe("the flavor of the Consul servers and the balancers, x86-64")
        .meta({ standard: "flavor" }),
    bootVolume: z
        .strictObject({
            sizeGib: z.int().min(8).max(1000).default(20).describe("if bootVolume is set: the volume's size, in GiB"),
            type: name("a volume type", "ssd")
                .exactOptional()
                .describe("if bootVolume is set: the volume's type")
                .meta({ standard: "the cloud's default" }),
        })
        .exactOptional()
        .describe("if set, machines boot from a volume, which is deleted with them; otherwise from their host's disk"),
    serverGroupPolicy: z
        .enum(SERVER_GROUP_POLICIES)
        .default("soft-anti-affinity")
        .describe(
            "how machines of one kind are placed: on different hosts if possible (soft-anti-affinity), or only on different hosts (anti-affinity)",
        ),
    availabilityZone: name("an availability zone", "nova")
        .exactOptional()
        .describe("the machines' availability zone")
        .meta({ standard: "the cloud's choice" }),
    keyPair: name("a key pair", "operator")
        .exactOptional()
        .describe("a key pair for logging in; no port is opened for it"),
    apiPorts: z
        .array(z.int().min(1).max(65535))
        .default(API_PORTS)
        .describe(
            "ports of OpenStack's APIs that the loop's machines may reach, in addition to those of loop.authUrl and loop.stateBackend",
        )
        .meta({ allowed: "a list of ports" }),
    loop,
});

/** Secrets of the replacement loop on cloud machines, by the names that roles use. */
export const LOOP_SECRETS = [
    "replacerPassphrase",
    "replacerCredentialSecret",
    "replacerStateAccess",
    "replacerStateSecret",
] as const;

const secret = (meaning: string) => z.string().min(1).exactOptional().describe(meaning).meta({ allowed: "a string" });

/** The only values that may, and must, be set with `--secret`. */
export const secretsSchema = z.strictObject({
    replacerPassphrase: secret("the passphrase of the stack's state and configuration (PULUMI_CONFIG_PASSPHRASE)"),
    replacerCredentialSecret: secret("the secret of openstack.loop.credentialId"),
    replacerStateAccess: secret("the access key of openstack.loop.stateBackend"),
    replacerStateSecret: secret("the secret key of openstack.loop.stateBackend"),
} satisfies Record<(typeof LOOP_SECRETS)[number], z.ZodType>);
