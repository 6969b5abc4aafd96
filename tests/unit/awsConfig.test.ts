import * as assert from "node:assert/strict";
import { ConfigError, parseConfig } from "../../config";
import { instanceTypeProblem } from "../../config/aws";

/** The smallest valid configuration of a deployment to AWS. */
const least = {
    targets: ["aws"],
    image: { artifacts: "https://artifacts.example.org/gateway" },
    aws: {
        region: "eu-central-1",
        network: { kind: "own", zones: ["eu-central-1a", "eu-central-1b", "eu-central-1c"] },
    },
};

const aws = (changes: Record<string, unknown>) => ({ ...least, aws: { ...least.aws, ...changes } });

/** The problems of some settings, each as `key: message`. */
function problems(raw: Record<string, unknown>): string[] {
    try {
        parseConfig(raw);
    } catch (error) {
        assert.ok(error instanceof ConfigError);
        return error.problems.map(({ key, message }) => `${key}: ${message}`);
    }
    return [];
}

const given = { kind: "given", vpcId: "vpc-0123456789abcdef0" };
const subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"];

describe("the configuration of target aws", () => {
    it("needs a region, zones and a place for the artifacts", () => {
        assert.deepEqual(problems(least), []);
        assert.deepEqual(problems({ targets: ["aws"] }), [
            "gateway:image.artifacts: not set, but not every target is local; allowed: a URL: http:// or https://, or gateway:image.prebaked",
            "gateway:aws.network.zones: not set; allowed: a list of 2 to 6 availability zones of the region",
            "gateway:aws.region: not set; allowed: a region of AWS",
        ]);
    });

    it("needs none of these on other targets", () => {
        assert.deepEqual(problems({ targets: ["local"] }), []);
    });

    it("lists everything that is wrong in one error", () => {
        const wrong = {
            ...aws({
                network: { kind: "own", zones: ["eu-central-1a"] },
                instanceTypes: ["t3.small", "q9.large"],
                spotMaxPrice: "cheap",
            }),
            pool: { size: 0 },
        };
        assert.deepEqual(problems(wrong), [
            "gateway:pool.size: got 0; allowed: a whole number from 1 to 200",
            "gateway:aws.instanceTypes[1]: got q9.large: q9 is not a family of instance types; allowed: an x86-64 instance type such as t3.small",
            "gateway:aws.network.zones: got a list; allowed: a list of 2 to 6 availability zones of the region",
            'gateway:aws.spotMaxPrice: got "cheap"; allowed: a number, more than 0 and up to 100',
        ]);
    });

    const refused: readonly [string, Record<string, unknown>, string][] = [
        [
            "a VPC without subnets",
            aws({ network: given }),
            "aws.network.subnetIds: not set; allowed: a list of 2 to 6 subnets of that VPC, each in another zone",
        ],
        [
            "a VPC with one subnet",
            aws({ network: { ...given, subnetIds: subnets.slice(0, 1) } }),
            "aws.network.subnetIds: got a list; allowed: a list of 2 to 6 subnets of that VPC, each in another zone",
        ],
        [
            "the same subnet twice",
            aws({ network: { ...given, subnetIds: [subnets[0], subnets[0]] } }),
            "aws.network.subnetIds: got subnet-0123456789abcdef0 more than once; allowed: each once",
        ],
        [
            "something that is not a subnet",
            aws({ network: { ...given, subnetIds: ["vpc-0123456789abcdef0", subnets[0], subnets[1]] } }),
            'aws.network.subnetIds[0]: got "vpc-0123456789abcdef0"; allowed: the id of a subnet, subnet-…',
        ],
        [
            "a zone of another region",
            aws({ network: { kind: "own", zones: ["eu-central-1a", "us-east-1b"] } }),
            "aws.network.zones[1]: got us-east-1b; allowed: a zone of eu-central-1",
        ],
        [
            "the same zone twice",
            aws({ network: { kind: "own", zones: ["eu-central-1a", "eu-central-1a"] } }),
            "aws.network.zones: got eu-central-1a more than once; allowed: each once",
        ],
        [
            "a network that is too small",
            aws({ network: { ...least.aws.network, cidr: "10.0.0.0/25" } }),
            'aws.network.cidr: got "10.0.0.0/25"; allowed: an IPv4 network from /16 to /24',
        ],
        [
            "a negative spot price",
            aws({ spotMaxPrice: -1 }),
            "aws.spotMaxPrice: got -1; allowed: a number, more than 0 and up to 100",
        ],
        [
            "more frequent checks than the load balancer makes",
            aws({ checkSeconds: 2 }),
            "aws.checkSeconds: got 2; allowed: a whole number of seconds, from 5 to 300",
        ],
        [
            "a longer halt than AutoScaling allows",
            aws({ checkpointSeconds: 200_000 }),
            "aws.checkpointSeconds: got 200000; allowed: a whole number of seconds, from 0 to 172800",
        ],
        [
            "a spot price without spot",
            aws({ spot: false, spotMaxPrice: 0.1 }),
            "aws.spotMaxPrice: set, but spot is false",
        ],
        [
            "an instance type for ARM",
            aws({ instanceTypes: ["m7g.large"] }),
            "aws.instanceTypes[0]: got m7g.large: m7g is arm64, and the machines' programs are x86-64; allowed: an x86-64 instance type such as t3.small",
        ],
        [
            "an empty list of instance types",
            aws({ instanceTypes: [] }),
            "aws.instanceTypes: got an empty list; allowed: a list of x86-64 instance types such as t3.small",
        ],
        [
            "an unknown instance type of the Consul servers and balancers",
            aws({ fixedInstanceType: "zz.small" }),
            "aws.fixedInstanceType: got zz.small: zz is not a family of instance types; allowed: an x86-64 instance type such as t3.small",
        ],
        [
            "scaling to less than the pool",
            { ...aws({ targetTracking: { maxSize: 1 } }), pool: { size: 3 } },
            "aws.targetTracking.maxSize: got 1; allowed: 3 or more, because pool.size is 3",
        ],
        [
            "more gateways than a balancer can hold",
            { ...aws({ targetTracking: { maxSize: 40 } }), loadBalancer: { slots: 20 } },
            "loadBalancer.slots: got 20; allowed: 40 or more, because aws.targetTracking.maxSize is 40",
        ],
        [
            "a prebaked image without its id",
            { ...least, image: { prebaked: true } },
            "aws.imageId: not set, but image.prebaked is true; allowed: the id of the image that you built (docs/images.md), ami-…",
        ],
        [
            "a client network without a prefix length",
            aws({ clientCidrs: ["10.0.0.0"] }),
            'aws.clientCidrs[0]: got "10.0.0.0"; allowed: an IPv4 network such as 203.0.113.0/24',
        ],
        [
            "a single Consul server",
            { ...least, discovery: { servers: 1 } },
            "discovery.servers: got 1; allowed: 3 or 5, because not every target is local",
        ],
        [
            "a container image",
            {
                ...least,
                service: { install: { kind: "image", reference: "registry.example.org/server:1" }, argv: ["server"] },
            },
            "service.install.kind: got image, which target aws cannot run in this version; allowed: sample, archive or prebaked",
        ],
    ];
    for (const [what, raw, message] of refused) {
        it(`refuses ${what}`, () => assert.deepEqual(problems(raw), [`gateway:${message}`]));
    }

    it("warns about settings that are allowed but unwise", () => {
        const { warnings } = parseConfig({
            ...least,
            aws: {
                ...least.aws,
                network: { kind: "own", zones: ["eu-central-1a", "eu-central-1b"] },
                clientCidrs: ["0.0.0.0/0"],
                internetFacing: true,
                emulator: { api: "http://127.0.0.1:5000" },
            },
        });
        assert.deepEqual(warnings, [
            "gateway:aws.clientCidrs: 0.0.0.0/0 lets the whole internet call the gateway",
            "gateway:aws.network: 2 zones for 3 Consul servers: if the zone with the most servers fails, Consul loses its majority",
            "gateway:aws.emulator: set: nothing is created at AWS",
        ]);
        assert.deepEqual(parseConfig(least).warnings, [
            "gateway:aws.clientCidrs: empty: nobody outside the deployment may call the gateway",
        ]);
    });

    it("accepts every load balancing stack, and checks no Consul servers if the stack has none", () => {
        for (const stack of ["consul-template-haproxy", "fabio", "serf-haproxy"]) {
            assert.equal(parseConfig({ ...least, loadBalancer: { stack } }).config.loadBalancerStack, stack);
        }
        const twoZones = aws({
            network: { kind: "own", zones: ["eu-central-1a", "eu-central-1b"] },
            clientCidrs: ["203.0.113.0/24"],
        });
        const withoutConsul = { ...twoZones, loadBalancer: { stack: "serf-haproxy" }, discovery: { servers: 1 } };
        assert.deepEqual(parseConfig(withoutConsul).warnings, []);
        assert.equal(parseConfig(twoZones).warnings.length, 1);
        assert.deepEqual(problems({ ...withoutConsul, loadBalancer: { stack: "serf-haproxy", balancers: 1 } }), [
            "gateway:loadBalancer.balancers: got 1; allowed: a whole number from 2 to 5, because not every target is local",
        ]);
    });

    it("gives the balancers room for as many gateways as AutoScaling may start", () => {
        assert.equal(parseConfig(aws({ targetTracking: { maxSize: 40 } })).config.balancerSlots, 80);
    });

    it("knows AWS's families of instance types", () => {
        for (const type of ["t2.micro", "t3a.small", "m7i-flex.large", "c6in.xlarge", "r8a.large", "g4dn.xlarge"]) {
            assert.equal(instanceTypeProblem(type), undefined, type);
        }
        for (const type of ["t4g.small", "a1.large", "im4gn.large", "g5g.xlarge", "x2gd.medium"]) {
            assert.match(instanceTypeProblem(type) ?? "", /is arm64/, type);
        }
        for (const type of ["t9.small", "small", "T3.small"])
            assert.match(instanceTypeProblem(type) ?? "", /not a family/);
        assert.match(instanceTypeProblem("mac2.metal") ?? "", /is mac/);
    });
});
