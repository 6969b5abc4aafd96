/** The schema of `gateway:aws`: the settings of target aws, and which instance types it can use. */
import { InstanceType } from "@pulumi/aws/types/enums/ec2";
import { z } from "zod";

/** An IPv4 network in CIDR notation, as well as a pattern can check it. */
const CIDR = /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\/(3[0-2]|[12]?\d)$/;

/**
 * Minimum and maximum number of availability zones of an own network. A single zone would be a single point of failure.
 */
export const ZONES = { fewest: 2, most: 6 } as const;

const resourceId = (prefix: string, what: string) =>
    z
        .string()
        .regex(new RegExp(`^${prefix}-[0-9a-f]{8,17}$`))
        .meta({ allowed: `the id of ${what}, ${prefix}-…`, example: `${prefix}-0123456789abcdef0` });

const url = () =>
    z
        .string()
        .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/)
        .meta({ allowed: "a URL: http:// or https://", example: "http://127.0.0.1:5000" });

const network = z
    .discriminatedUnion("kind", [
        z
            .strictObject({
                kind: z.literal("own"),
                cidr: z
                    .string()
                    .regex(
                        /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\/(1[6-9]|2[0-4])$/,
                    )
                    .default("10.20.0.0/16")
                    .describe("the network's addresses; each subnet gets a sixteenth")
                    .meta({ allowed: "an IPv4 network from /16 to /24" }),
                zones: z
                    .array(z.string().regex(/^[a-z0-9-]+[a-z]$/))
                    .min(ZONES.fewest)
                    .max(ZONES.most)
                    .exactOptional()
                    .describe(
                        "the zones of the machines; without a default, because a region's zones can change and subnets must not move",
                    )
                    .meta({
                        allowed: `a list of ${ZONES.fewest} to ${ZONES.most} availability zones of the region`,
                        example: ["eu-central-1a", "eu-central-1b", "eu-central-1c"],
                        standard: "must be set on target aws",
                    }),
            })
            .describe("a VPC that the deployment creates"),
        z
            .strictObject({
                kind: z.literal("given"),
                vpcId: resourceId("vpc", "a VPC").describe("the VPC"),
                subnetIds: z
                    .array(resourceId("subnet", "a subnet"))
                    .min(2)
                    .max(ZONES.most)
                    .describe(
                        "the machines' subnets, each in another zone; they have to reach the internet or AWS's endpoints",
                    )
                    .meta({
                        allowed: `a list of 2 to ${ZONES.most} subnets of that VPC, each in another zone`,
                        example: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
                    }),
                loadBalancerSubnetIds: z
                    .array(resourceId("subnet", "a subnet"))
                    .min(2)
                    .exactOptional()
                    .describe(
                        "the network load balancer's subnets, in the same zones; public ones if it is internet-facing",
                    )
                    .meta({ allowed: "a list of 2 or more subnets of that VPC", standard: "subnetIds" }),
                firstHost: z
                    .int()
                    .min(4)
                    .max(200)
                    .default(10)
                    .describe(
                        "the first of 6 addresses for Consul servers and balancers, counted from the beginning of each subnet; reserve them (subnet CIDR reservation)",
                    ),
            })
            .describe("an existing VPC"),
    ])
    .describe("the network");

const targetTracking = z
    .strictObject({
        cpuPercent: z
            .number()
            .min(5)
            .max(95)
            .default(60)
            .describe(
                "if targetTracking is set: the mean CPU load of the gateways, in percent, that AutoScaling maintains by adding and removing gateways",
            ),
        maxSize: z
            .int()
            .min(1)
            .max(200)
            .default(6)
            .describe("if targetTracking is set: the maximum number of gateways; pool.size is the minimum"),
    })
    .exactOptional()
    .describe("if set, AutoScaling changes the number of gateways; pool.size is then the minimum");

/** The settings of target aws. */
export const awsSchema = z.strictObject({
    region: z
        .string()
        .regex(/^[a-z]{2}(-[a-z]+)+-\d$/)
        .exactOptional()
        .describe("the region")
        .meta({ allowed: "a region of AWS", example: "eu-central-1", standard: "must be set on target aws" }),
    network: network.prefault({ kind: "own" }),
    clientCidrs: z
        .array(z.string().regex(CIDR).meta({ allowed: "an IPv4 network such as 203.0.113.0/24" }))
        .default([])
        .describe("who may call the gateway; by default nobody outside the deployment")
        .meta({ allowed: "a list of IPv4 networks such as 203.0.113.0/24", example: ["203.0.113.0/24"] }),
    clientPrefixLists: z
        .array(resourceId("pl", "a prefix list"))
        .default([])
        .describe("further clients that may call, as managed prefix lists")
        .meta({ allowed: "a list of prefix lists' ids, pl-…" }),
    internetFacing: z
        .boolean()
        .default(false)
        .describe("whether the network load balancer has public addresses; even then, only clientCidrs may call"),
    instanceTypes: z
        .array(z.string().regex(/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/))
        .min(1)
        .default(["t3.small", "t3a.small", "t2.small"])
        .describe("the gateways' instance types, x86-64; with more types, spot capacity is more likely to be available")
        .meta({ allowed: "a list of x86-64 instance types such as t3.small", example: ["t3.small"] }),
    fixedInstanceType: z
        .string()
        .regex(/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/)
        .default("t3.small")
        .describe("the instance type of the Consul servers and the balancers, x86-64, on demand")
        .meta({ allowed: "an x86-64 instance type such as t3.small" }),
    spot: z.boolean().default(true).describe("whether gateways beyond onDemandBase are spot instances"),
    onDemandBase: z.int().min(0).max(200).default(0).describe("the number of gateways that are never spot instances"),
    spotMaxPrice: z
        .number()
        .positive()
        .max(100)
        .exactOptional()
        .describe("the maximum price of a spot instance, in US dollars an hour")
        .meta({ allowed: "a number, more than 0 and up to 100", standard: "the on-demand price, as AWS advises" }),
    targetTracking,
    checkSeconds: z
        .int()
        .min(5)
        .max(300)
        .default(10)
        .describe(
            "time between two health checks of the network load balancer; two in a row decide, so finding a machine unhealthy takes about twice as long",
        )
        .meta({ allowed: "a whole number of seconds, from 5 to 300" }),
    checkpointSeconds: z
        .int()
        .min(0)
        .max(172_800)
        .default(60)
        .describe("how long a rollout halts when half of the gateways are new, so that you can look at them")
        .meta({ allowed: "a whole number of seconds, from 0 to 172800" }),
    imageId: resourceId("ami", "an image")
        .exactOptional()
        .describe("the machines' image: Debian 12, or one built from it; pin it to choose when it changes")
        .meta({ standard: "an official Debian 12; see newestImage" }),
    newestImage: z
        .boolean()
        .default(false)
        .describe(
            "without imageId: whether a deployment takes the newest official Debian 12 and replaces all machines if it is another one; otherwise the image stays as it was found first",
        ),
    tags: z
        .record(
            z
                .string()
                .regex(/^(?!aws:|(?:project|stack|managed-by|Name|gateway-consul)$)[\w .:/=+@-]{1,128}$/)
                .meta({
                    allowed:
                        "names of up to 128 letters, digits, spaces and _.:/=+-@, without aws: at the beginning, and none of project, stack, managed-by, Name and gateway-consul",
                }),
            z
                .string()
                .max(256)
                .regex(/^[\w .:/=+@-]*$/)
                .meta({ allowed: "up to 256 letters, digits, spaces and _.:/=+-@" }),
        )
        .default({})
        .describe("tags of every resource, besides project, stack and managed-by"),
    iam: z
        .strictObject({
            path: z
                .string()
                .regex(/^\/([\x21-\x2e\x30-\x7e]+\/)*$/)
                .max(512)
                .default("/")
                .describe("the path of roles and instance profiles")
                .meta({ allowed: "a path that begins and ends with /", example: "/gateway/" }),
            permissionsBoundary: z
                .string()
                .regex(/^arn:aws[a-z-]*:iam::(\d{12}|aws):policy\/[\w+=,.@/-]+$/)
                .exactOptional()
                .describe("the policy that limits what roles may allow")
                .meta({ allowed: "the ARN of a policy", standard: "none" }),
        })
        .prefault({})
        .describe("the identities of machines; their names begin with project and stack"),
    volumeGib: z
        .int()
        .min(8)
        .max(1000)
        .default(10)
        .describe("the size of each machine's volume (gp3, encrypted), in GiB"),
    kmsKeyArn: z
        .string()
        .regex(/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/)
        .exactOptional()
        .describe("your own KMS key for secrets and volumes")
        .meta({ allowed: "the ARN of a KMS key", standard: "AWS's keys for SSM and EBS" }),
    keyName: z
        .string()
        .regex(/^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/)
        .exactOptional()
        .describe("an EC2 key pair for logging in; no port is opened for it")
        .meta({ allowed: "the name of an EC2 key pair" }),
    emulator: z
        .strictObject({
            api: url().describe(
                "for tests: where the engine reaches an emulator of AWS's API; no account is used then",
            ),
            machines: url()
                .exactOptional()
                .describe("for tests: where the machines reach the emulator")
                .meta({ standard: "as the engine" }),
        })
        .exactOptional()
        .describe("for tests: an emulator of AWS's API instead of AWS; no account is used"),
});

/** AWS's families of instance types, and whether this project can use them. */
const families: ReadonlyMap<string, "x86_64" | "arm64" | "mac"> = new Map(
    Object.values(InstanceType).map((type) => {
        const family = familyOf(type);
        // A letter g after the generation means Graviton (m7g, c6gn, g5g). a1 was the first Graviton family.
        const architecture = /^mac/.test(family) ? "mac" : /^[a-z]+\d+g|^a1$/.test(family) ? "arm64" : "x86_64";
        return [family, architecture];
    }),
);

function familyOf(instanceType: string): string {
    return instanceType.split(".")[0] ?? "";
}

/**
 * What is wrong with an instance type, in words, or undefined. It does not check the size: AWS knows which sizes exist.
 */
export function instanceTypeProblem(instanceType: string): string | undefined {
    const family = familyOf(instanceType);
    const architecture = families.get(family);
    if (architecture === undefined) return `${family} is not a family of instance types`;
    return architecture === "x86_64"
        ? undefined
        : `${family} is ${architecture}, and the machines' programs are x86-64`;
}
