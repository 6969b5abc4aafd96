/** The schema of `gateway:openstack`: what only target openstack needs; and of `gateway:secrets`. */
import { z } from "zod";

const OCTET = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
/** A network in CIDR notation, IPv4, as far as a pattern can say it. */
const CIDR = new RegExp(`^(${OCTET}\\.){3}${OCTET}/(3[0-2]|[12]?\\d)$`);
const ADDRESS = new RegExp(`^(${OCTET}\\.){3}${OCTET}$`);

/** Where our addresses begin in an own network; those before it are for Neutron's own ports: DHCP, Octavia. */
export const FIRST_HOST = 10;

/** How Nova's scheduler places the servers of a group: apart, if it can, or only apart. */
const SERVER_GROUP_POLICIES = ["soft-anti-affinity", "anti-affinity"] as const;

/** The usual ports of OpenStack's APIs: identity, compute, placement, images, network, load balancers, volumes, and HTTPS. */
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
                    .describe("its addresses")
                    .meta({ allowed: "an IPv4 network from /16 to /24" }),
                dnsServers: z
                    .array(z.string().regex(ADDRESS).meta({ allowed: "an IPv4 address" }))
                    .default([])
                    .describe("the machines' name servers; empty: the cloud's own")
                    .meta({ allowed: "a list of IPv4 addresses", example: ["198.51.100.53"] }),
            })
            .describe("a network of the deployment's own, with a router to externalNetwork"),
        z
            .strictObject({
                kind: z.literal("given"),
                networkId: uuid("a network").describe("the network"),
                subnetId: uuid("a subnet").describe(
                    "its subnet in which the machines are; it has to have a way out, for what they fetch",
                ),
                firstHost: z
                    .int()
                    .min(2)
                    .max(60_000)
                    .default(FIRST_HOST)
                    .describe(
                        "in the subnet, the first of our addresses, counted from its beginning; pool.size and 40 more have to be free from there on, best outside its allocation pools",
                    ),
            })
            .describe("a network that is there"),
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
                    .describe("VRRP's number of the group; another one for each deployment in one network"),
            })
            .describe("one address, which one of the balancers has at a time (VRRP)"),
        z
            .strictObject({
                kind: z.literal("octavia"),
                provider: name("a provider of Octavia", "amphora")
                    .exactOptional()
                    .describe("which of the cloud's kinds of load balancer")
                    .meta({ standard: "the cloud's default" }),
            })
            .describe("a load balancer of the cloud's in front of the balancers"),
    ])
    .describe("what clients call");

const loop = z
    .strictObject({
        authUrl: z
            .string()
            .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/)
            .describe("the identity service, as the machines reach it")
            .meta({ allowed: "a URL: http:// or https://", example: "https://cloud.example.org:5000/v3" }),
        credentialId: z
            .string()
            .regex(/^[0-9a-f]{32}$/)
            .describe("id of the loop's application credential; its secret is gateway:secrets.replacerCredentialSecret")
            .meta({
                allowed: "the id of an application credential, 32 hexadecimal digits",
                example: "0".repeat(32),
            }),
        stateBackend: z
            .string()
            .regex(/^s3:\/\/[^\s/]+\S*$/)
            .describe(
                "where the stack's state is, as the machines reach it; deployments from elsewhere have to use the same (PULUMI_BACKEND_URL)",
            )
            .meta({
                allowed: "the URL of a bucket, s3://BUCKET?endpoint=HOST:PORT&…",
                example: "s3://gateway-state?region=us-east-1&endpoint=object-store.example.org&s3ForcePathStyle=true",
            }),
    })
    .exactOptional()
    .describe("what the replacement loop needs on the machines; must be set where replacement.enabled is true");

/** What the user may say about target openstack. */
export const openstackSchema = z.strictObject({
    cloud: name("a cloud in clouds.yaml", "openstack")
        .exactOptional()
        .describe("which cloud of clouds.yaml; it has to log in by an application credential")
        .meta({ standard: "must be set on target openstack" }),
    region: name("a region", "RegionOne")
        .exactOptional()
        .describe("the region")
        .meta({ standard: "that of clouds.yaml" }),
    network: network.prefault({ kind: "own" }),
    externalNetwork: name("an external network", "public")
        .exactOptional()
        .describe("where an own network's router and the floating IP are")
        .meta({ standard: "must be set for an own network or a floating IP" }),
    floatingIp: z
        .boolean()
        .default(true)
        .describe("whether clients call a floating IP; else an address of the network"),
    clientCidrs: z
        .array(z.string().regex(CIDR).meta({ allowed: "an IPv4 network such as 203.0.113.0/24" }))
        .default([])
        .describe("who may call the gateway; nobody outside the deployment unless said")
        .meta({ allowed: "a list of IPv4 networks such as 203.0.113.0/24", example: ["203.0.113.0/24"] }),
    frontend: frontend.prefault({ kind: "keepalived" }),
    imageId: uuid("an image")
        .exactOptional()
        .describe(
            "the machines' image, Debian 12, Ubuntu 24.04 or one made from them; by its id, because a name may stand for another image tomorrow, and the loop would find every machine changed",
        )
        .meta({ standard: "must be set on target openstack" }),
    flavor: name("a flavor", "m1.small")
        .exactOptional()
        .describe("of the gateways, x86-64")
        .meta({ standard: "must be set on target openstack" }),
    fixedFlavor: name("a flavor", "m1.small")
        .exactOptional()
        .describe("of the Consul servers and the balancers, x86-64")
        .meta({ standard: "flavor" }),
    bootVolume: z
        .strictObject({
            sizeGib: z.int().min(8).max(1000).default(20).describe("where bootVolume is set: its size, GiB"),
            type: name("a volume type", "ssd")
                .exactOptional()
                .describe("where bootVolume is set: its type")
                .meta({ standard: "the cloud's default" }),
        })
        .exactOptional()
        .describe("when set, machines boot from a volume, which goes with them; else from their host's disk"),
    serverGroupPolicy: z
        .enum(SERVER_GROUP_POLICIES)
        .default("soft-anti-affinity")
        .describe(
            "how machines of one kind are placed: on different hosts if possible, or else not at all (anti-affinity)",
        ),
    availabilityZone: name("an availability zone", "nova")
        .exactOptional()
        .describe("where the machines are")
        .meta({ standard: "the cloud's choice" }),
    keyPair: name("a key pair", "operator")
        .exactOptional()
        .describe("a key pair for logging in; no port is opened for it"),
    apiPorts: z
        .array(z.int().min(1).max(65535))
        .default(API_PORTS)
        .describe(
            "ports of OpenStack's APIs, to which the loop's machines are let out; those of loop.authUrl and loop.stateBackend besides",
        )
        .meta({ allowed: "a list of ports" }),
    loop,
});

/** Secrets of the replacement loop on machines of a cloud, by the names that roles refer to them by. */
export const LOOP_SECRETS = [
    "replacerPassphrase",
    "replacerCredentialSecret",
    "replacerStateAccess",
    "replacerStateSecret",
] as const;

const secret = (meaning: string) => z.string().min(1).exactOptional().describe(meaning).meta({ allowed: "a text" });

/** The only values that may be, and have to be, set with `--secret`. */
export const secretsSchema = z.strictObject({
    replacerPassphrase: secret("the passphrase of the stack's state and configuration (PULUMI_CONFIG_PASSPHRASE)"),
    replacerCredentialSecret: secret("the secret of openstack.loop.credentialId"),
    replacerStateAccess: secret("the access key of openstack.loop.stateBackend"),
    replacerStateSecret: secret("its secret key"),
} satisfies Record<(typeof LOOP_SECRETS)[number], z.ZodType>);
