import * as assert from "node:assert/strict";
import { ConfigError } from "../../config";
import type { LOAD_BALANCER_STACKS } from "../../config/schema";
import { assertGolden } from "../golden/compare";
import { GIVEN_SUBNETS, TEMPLATE_VERSION } from "./support/awsMocks";
import { awsDevConfig, awsDevStack, decodeUserData } from "./support/awsStack";
import {
    allMockSecrets,
    credentialsType,
    goldenJson,
    type Registration,
    type RunOptions,
    run,
    UNKNOWN,
    useTemporaryHome,
} from "./support/mocks";

type Changes = Parameters<typeof awsDevConfig>[0];

/** Runs the whole program on the committed stack aws-dev, with changes. */
const program = (changes: Changes = {}, options: RunOptions = {}) =>
    run(require("../../index") as () => Promise<Record<string, Record<string, unknown>>>, {
        config: awsDevConfig(changes),
        ...options,
    });

type Stack = (typeof LOAD_BALANCER_STACKS)[number];

/** A change of what is committed to another way of balancing. */
const balancedBy = (stack: Stack): Changes => ({ "gateway:loadBalancer": { stack } });

const deployments = new Map<Stack, ReturnType<typeof program>>();
/** One run of the stack as it is committed, or with another way of balancing, for all tests that only look at it. */
const deployment = (stack: Stack = "consul-template-haproxy") => {
    const run = deployments.get(stack) ?? program(stack === "consul-template-haproxy" ? {} : balancedBy(stack));
    deployments.set(stack, run);
    return run;
};

const aws = (changes: Record<string, unknown>): Changes => ({ "gateway:aws": changes });
const key = ({ name, type }: Registration) => `${name} ${type}`;
const byName = (resources: readonly Registration[]) => [...resources].sort((a, b) => (key(a) < key(b) ? -1 : 1));
const named = (resources: readonly Registration[], name: string, type: string) => {
    const found = resources.filter((each) => each.name === name && each.type === type);
    assert.equal(found.length, 1, `${found.length} resources ${name} of type ${type}`);
    return found[0] as Registration;
};
const ofType = (resources: readonly Registration[], type: string) =>
    byName(resources.filter((each) => each.type === type));
const inputsOf = ({ inputs: { __provider, ...inputs } }: Registration) => inputs;

const GROUP = "aws:autoscaling/group:Group";
const TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate";
const INSTANCE = "aws:ec2/instance:Instance";
const GATE = "pulumi-nodejs:dynamic/gateway:AwsGate";
const SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule";
const USER_DATA = ["userData", "userDataBase64"];

/** What groups let in from other groups: who, how, from port to port, whom. Sorted. */
function openAmongGroups(resources: readonly Registration[]): string[] {
    return ofType(resources, INGRESS)
        .map(({ inputs }) => inputs)
        .filter((rule) => rule.referencedSecurityGroupId !== undefined)
        .map((rule) =>
            [rule.securityGroupId, rule.ipProtocol, rule.fromPort, rule.toPort, rule.referencedSecurityGroupId]
                .join(" ")
                .replaceAll("aws-", "")
                .replaceAll("-group-id", "")
                .replaceAll("network-members-id", "members"),
        )
        .sort();
}

/** What each kind of machine may do, by the policy's name. */
function policiesOf(resources: readonly Registration[]): Record<string, Record<string, unknown>[]> {
    return Object.fromEntries(
        ofType(resources, "aws:iam/rolePolicy:RolePolicy").map(({ name, inputs }) => [
            name,
            (JSON.parse(String(inputs.policy)) as { Statement: Record<string, unknown>[] }).Statement,
        ]),
    );
}

/** The statement that allows to read these secrets. */
const read = (...secrets: string[]) => ({
    Effect: "Allow",
    Action: ["ssm:GetParameters"],
    Resource: secrets.map((secret) => `arn:aws-discovery-secret-${secret}`),
});

/** The statement by which agents find the Consul servers. */
const find = { Effect: "Allow", Action: ["ec2:DescribeInstances"], Resource: "*" };

/** The statement by which a gateway's instance lets the hook go on that holds it. */
const complete = {
    Effect: "Allow",
    Action: ["autoscaling:CompleteLifecycleAction"],
    Resource:
        "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/gateway-test-aws-pool",
};

/** Every machine's user data, by the resource's name. */
function userDataOf(resources: readonly Registration[]): [string, string][] {
    return resources.flatMap(({ name, inputs }) =>
        USER_DATA.flatMap((input) =>
            inputs[input] === undefined ? [] : [[name, String(inputs[input])] as [string, string]],
        ),
    );
}

/** Inputs as they stand in the golden file: of user data, what it is about; its exact text has golden files of its own. */
function goldenInputs(resource: Registration): Record<string, unknown> {
    return Object.fromEntries(
        Object.entries(inputsOf(resource)).map(([input, value]) => {
            if (!USER_DATA.includes(input)) return [input, value];
            const { name, role, identity, secrets, units } = decodeUserData(value).machine;
            return [input, { name, role, identity, secrets, units: units.map((unit) => unit.name) }];
        }),
    );
}

describe("the whole program on AWS", function () {
    this.timeout(60_000);
    let restoreHome: () => void;
    before(() => {
        restoreHome = useTemporaryHome();
    });
    after(() => restoreHome());

    it("makes the pool as an AutoScaling group that replaces, drains and rolls", async () => {
        const { resources } = await deployment();
        const group = named(resources, "aws-pool", GROUP);
        assert.equal(group.typeChain, "gateway:index:GatewayPool$aws:autoscaling/group:Group");
        const tag = (name: string, value: string) => ({ key: name, value, propagateAtLaunch: true });
        assert.deepEqual(inputsOf(group), {
            name: "gateway-test-aws-pool",
            minSize: 2,
            desiredCapacity: 2,
            maxSize: 3,
            vpcZoneIdentifiers: [0, 1, 2].map((index) => `aws-network-pool-${index}-id`),
            mixedInstancesPolicy: {
                instancesDistribution: {
                    onDemandBaseCapacity: 0,
                    onDemandPercentageAboveBaseCapacity: 0,
                    onDemandAllocationStrategy: "prioritized",
                    spotAllocationStrategy: "price-capacity-optimized",
                },
                launchTemplate: {
                    launchTemplateSpecification: {
                        launchTemplateId: "aws-pool-template-id",
                        version: String(TEMPLATE_VERSION),
                    },
                    overrides: ["t3.small", "t3a.small", "t2.small"].map((instanceType) => ({ instanceType })),
                },
            },
            capacityRebalance: true,
            instanceMaintenancePolicy: { minHealthyPercentage: 100, maxHealthyPercentage: 150 },
            healthCheckType: "ELB",
            healthCheckGracePeriod: 600,
            defaultInstanceWarmup: 30,
            targetGroupArns: ["arn:aws-pool-health"],
            suspendedProcesses: [],
            instanceRefresh: {
                strategy: "Rolling",
                preferences: {
                    minHealthyPercentage: 100,
                    maxHealthyPercentage: 150,
                    instanceWarmup: "30",
                    checkpointPercentages: [50, 100],
                    checkpointDelay: "60",
                    skipMatching: true,
                    autoRollback: true,
                },
            },
            waitForCapacityTimeout: "0",
            tags: [
                tag("project", "gateway"),
                tag("stack", "test"),
                tag("managed-by", "pulumi"),
                tag("Name", "gateway-test-gateway"),
                tag("gateway-role", "gateway"),
            ],
        });
        assert.deepEqual(group.ignoreChanges, []);
        assert.deepEqual(inputsOf(named(resources, "aws-pool-drain", "aws:autoscaling/lifecycleHook:LifecycleHook")), {
            name: "drain",
            autoscalingGroupName: "gateway-test-aws-pool",
            lifecycleTransition: "autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeatTimeout: 120,
            defaultResult: "CONTINUE",
        });
    });

    it("asks every machine for sessions of the metadata service, and encrypts its volume", async () => {
        const { resources } = await deployment();
        const metadataOptions = { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 };
        const { inputs: template } = named(resources, "aws-pool-template", TEMPLATE);
        assert.deepEqual(template.metadataOptions, metadataOptions);
        assert.deepEqual(template.blockDeviceMappings, [
            {
                deviceName: "/dev/xvda",
                ebs: { volumeType: "gp3", volumeSize: 10, encrypted: "true", deleteOnTermination: "true" },
            },
        ]);
        const instances = ofType(resources, INSTANCE);
        assert.equal(instances.length, 5);
        for (const { name, inputs, deleteBeforeReplace } of instances) {
            assert.deepEqual(inputs.metadataOptions, metadataOptions, name);
            const { encrypted, volumeType } = inputs.rootBlockDevice as Record<string, unknown>;
            assert.deepEqual([encrypted, volumeType], [true, "gp3"], name);
            assert.deepEqual([inputs.userDataReplaceOnChange, deleteBeforeReplace], [true, true], name);
        }
    });

    it("gives Consul servers and balancers fixed addresses, one in each zone", async () => {
        const { resources } = await deployment();
        const places = ofType(resources, INSTANCE).map(({ name, inputs }) => [name, inputs.subnetId, inputs.privateIp]);
        assert.deepEqual(places, [
            ["aws-balancer-0", "aws-network-fixed-0-id", "10.20.128.7"],
            ["aws-balancer-1", "aws-network-fixed-1-id", "10.20.144.7"],
            ["aws-discovery-0", "aws-network-fixed-0-id", "10.20.128.4"],
            ["aws-discovery-1", "aws-network-fixed-1-id", "10.20.144.4"],
            ["aws-discovery-2", "aws-network-fixed-2-id", "10.20.160.4"],
        ]);
    });

    it("goes on to the next fixed machine, and to the pool, only once the last one is well", async () => {
        const { resources } = await deployment();
        const machines = ["aws-discovery-0", "aws-discovery-1", "aws-discovery-2", "aws-balancer-0", "aws-balancer-1"];
        for (const [index, name] of machines.entries()) {
            const { dependencies } = named(resources, name, INSTANCE);
            const before = machines[index - 1];
            assert.equal(before === undefined || dependencies.includes(`${before}-ready`), true, name);
            const gate = named(resources, `${name}-ready`, GATE);
            assert.deepEqual(
                [gate.dependencies.includes(name), gate.dependencies.includes(`${name}-attachment`)],
                [true, true],
            );
            // The value of one machine in the inputs of the next would take that one down with it.
            assert.ok(
                before === undefined ||
                    !JSON.stringify(inputsOf(named(resources, name, INSTANCE))).includes(`${before}-id`),
            );
            assert.deepEqual(gate.inputs.wanted, {
                kind: "instance",
                instanceId: `${name}-id`,
                orNobody: ["aws-discovery-0", "aws-discovery-1"].includes(name),
            });
        }
        const { dependencies } = named(resources, "aws-pool", GROUP);
        for (const name of [
            "aws-balancer-0-ready",
            "aws-balancer-1-ready",
            "aws-pool-health-listener",
            "aws-pool-policy",
        ])
            assert.ok(dependencies.includes(name), name);
        assert.deepEqual(named(resources, "aws-pool-ready", GATE).inputs.wanted, {
            kind: "group",
            group: "gateway-test-aws-pool",
            version: String(TEMPLATE_VERSION),
            least: 2,
        });
    });

    it("sets the network load balancer as balancers want it", async () => {
        const { resources } = await deployment();
        const balancer = named(resources, "aws-edge-nlb", "aws:lb/loadBalancer:LoadBalancer");
        assert.equal(balancer.typeChain, "gateway:aws:Target$gateway:aws:Edge$aws:lb/loadBalancer:LoadBalancer");
        assert.deepEqual(inputsOf(balancer), {
            loadBalancerType: "network",
            internal: true,
            subnets: [0, 1, 2].map((index) => `aws-network-pool-${index}-id`),
            securityGroups: ["aws-edge-group-id"],
            enableCrossZoneLoadBalancing: true,
            tags: { Name: "gateway-test-edge" },
        });
        const listeners = ofType(resources, "aws:lb/listener:Listener");
        assert.deepEqual(
            listeners.map(({ inputs }) => [inputs.port, inputs.protocol, inputs.tcpIdleTimeoutSeconds]),
            [9190, 8501, 9191].map((port) => [port, "TCP", 6000]),
        );
        for (const { name, inputs } of ofType(resources, "aws:lb/targetGroup:TargetGroup")) {
            assert.deepEqual([inputs.preserveClientIp, inputs.connectionTermination], ["false", true], name);
            // Pulumi appends a dash and seven digits; AWS allows 32 characters.
            assert.ok(name.length <= 24, name);
        }
        const checks = ofType(resources, "aws:lb/targetGroup:TargetGroup").map(({ name, inputs }) => {
            const { protocol, port, path } = inputs.healthCheck as Record<string, unknown>;
            return [name, protocol, port, path];
        });
        assert.deepEqual(checks, [
            ["aws-balancer-targets", "HTTP", "9192", "/"],
            ["aws-discovery-targets", "HTTPS", "8501", "/v1/catalog/services"],
            ["aws-pool-health", "HTTP", "9191", "/health"],
        ]);
    });

    it("lets in nobody but groups of its own, and the clients of the configuration on their port", async () => {
        const { resources } = await deployment();
        const rules = ofType(resources, INGRESS).map(({ inputs }) => inputs);
        const fromOutside = rules.filter((rule) => rule.referencedSecurityGroupId === undefined);
        assert.deepEqual(fromOutside, [
            {
                securityGroupId: "aws-edge-group-id",
                ipProtocol: "tcp",
                fromPort: 9190,
                toPort: 9190,
                description: "clients",
                cidrIpv4: "203.0.113.0/24",
            },
        ]);
        assert.deepEqual(openAmongGroups(resources), [
            "balancer tcp 8301 8301 members",
            "balancer tcp 9190 9190 edge",
            "balancer tcp 9192 9192 edge",
            "balancer tcp 9192 9192 members",
            "balancer udp 8301 8301 members",
            "discovery tcp 8300 8300 members",
            "discovery tcp 8301 8301 members",
            "discovery tcp 8501 8501 edge",
            "discovery tcp 8501 8501 members",
            "discovery udp 8301 8301 members",
            "pool tcp 8301 8301 members",
            "pool tcp 9190 9190 members",
            "pool tcp 9191 9191 edge",
            "pool tcp 9191 9191 members",
            "pool udp 8301 8301 members",
        ]);
        for (const group of ofType(resources, SECURITY_GROUP)) {
            assert.equal(group.inputs.ingress ?? group.inputs.egress, undefined, group.name);
            assert.ok(!group.name.startsWith("sg-"));
        }
    });

    it("lets machines out to each other's open ports, and to HTTP and HTTPS outside", async () => {
        const { resources } = await deployment();
        const egress = ofType(resources, EGRESS).map(({ inputs }) => inputs);
        const outside = egress.filter((rule) => rule.referencedSecurityGroupId === undefined);
        assert.deepEqual(
            outside.map((rule) => [rule.securityGroupId, rule.fromPort, rule.toPort, rule.cidrIpv4]),
            [
                ["aws-network-members-id", 443, 443, "0.0.0.0/0"],
                ["aws-network-members-id", 80, 80, "0.0.0.0/0"],
            ],
        );
        // Each way in is a way out of the other side, and the other way round.
        const pair = (from: unknown, to: unknown, rule: Record<string, unknown>) =>
            `${from} ${to} ${rule.ipProtocol} ${rule.fromPort}`;
        const ins = ofType(resources, INGRESS)
            .filter(({ inputs }) => inputs.referencedSecurityGroupId !== undefined)
            .map(({ inputs }) => pair(inputs.referencedSecurityGroupId, inputs.securityGroupId, inputs));
        const outs = egress
            .filter((rule) => rule.referencedSecurityGroupId !== undefined)
            .map((rule) => pair(rule.securityGroupId, rule.referencedSecurityGroupId, rule));
        assert.deepEqual(outs.sort(), ins.sort());
    });

    it("allows each kind of machine what it needs, and nothing else", async () => {
        const { resources } = await deployment();
        const policies = policiesOf(resources);
        assert.deepEqual(policies["aws-pool-policy"], [read("gatewayAgentToken", "gossipKey"), find, complete]);
        assert.deepEqual(policies["aws-balancer-policy"], [
            read("balancerAgentToken", "balancerToken", "gossipKey"),
            find,
        ]);
        const [secrets, ...others] = policies["aws-discovery-policy"] ?? [];
        assert.deepEqual(others, [find]);
        const names = (secrets as { Resource: string[] }).Resource.map((arn) =>
            arn.replace("arn:aws-discovery-secret-", ""),
        );
        assert.ok(names.includes("serverKey") && names.includes("managementToken") && !names.includes("caKey"));
    });

    it("allows to decrypt with a key of one's own, for these parameters only", async () => {
        const kmsKeyArn = "arn:aws:kms:eu-central-1:123456789012:key/0b0e5c1e-0000-4000-8000-000000000000";
        const { resources } = await program(aws({ kmsKeyArn }));
        const { inputs } = named(resources, "aws-balancer-policy", "aws:iam/rolePolicy:RolePolicy");
        const [, decrypt] = (JSON.parse(String(inputs.policy)) as { Statement: unknown[] }).Statement;
        const parameters = ["balancerAgentToken", "balancerToken", "gossipKey"];
        assert.deepEqual(decrypt, {
            Effect: "Allow",
            Action: ["kms:Decrypt"],
            Resource: kmsKeyArn,
            Condition: {
                StringEquals: {
                    "kms:ViaService": "ssm.eu-central-1.amazonaws.com",
                    "kms:EncryptionContext:PARAMETER_ARN": parameters.map((name) => `arn:aws-discovery-secret-${name}`),
                },
            },
        });
        for (const { inputs: parameter } of ofType(resources, "aws:ssm/parameter:Parameter"))
            assert.equal(parameter.keyId, kmsKeyArn);
    });

    it("names a provider for each resource, with the region and the tags of the configuration", async () => {
        const { resources } = await deployment();
        const provider = named(resources, "aws-provider", "pulumi:providers:aws");
        assert.equal(provider.inputs.region, "eu-central-1");
        // The SDK hands over as JSON what is no text.
        assert.deepEqual(JSON.parse(String(provider.inputs.defaultTags)), {
            tags: { project: "gateway", stack: "test", "managed-by": "pulumi" },
        });
        assert.equal(provider.inputs.endpoints, undefined);
        for (const { name, type, provider: own } of resources) {
            if (type.startsWith("aws:")) assert.equal(own, "aws-provider", name);
            if (type.startsWith("pulumi-nodejs:")) assert.equal(own, "aws-project-provider", name);
            if (type.startsWith("random:")) assert.equal(own, "aws-random-provider", name);
        }
        assert.deepEqual(awsDevStack["pulumi:disable-default-providers"], ["*"]);
    });

    it("keeps the image that was found first, until it is asked for the newest or given one", async () => {
        const RANDOM_ID = "random:index/randomId:RandomId";
        const { resources } = await deployment();
        const kept = named(resources, "aws-image", RANDOM_ID);
        assert.deepEqual(kept.inputs.keepers, { id: "ami-00000000000000001", rootDevice: "/dev/xvda" });
        assert.deepEqual(kept.ignoreChanges, ["keepers"]);
        assert.equal(named(resources, "aws-pool-template", TEMPLATE).inputs.imageId, "ami-00000000000000001");
        const newest = await program(aws({ newestImage: true }));
        assert.deepEqual(named(newest.resources, "aws-image", RANDOM_ID).ignoreChanges, []);
        const given = await program(aws({ imageId: "ami-00000000000000001" }));
        assert.deepEqual(ofType(given.resources, RANDOM_ID), []);
    });

    it("gives identities names by which they can be told, and the path, boundary and tags that were asked for", async () => {
        const permissionsBoundary = "arn:aws:iam::123456789012:policy/limits";
        const iam = { path: "/gateways/", permissionsBoundary };
        const { resources } = await program(aws({ iam, tags: { team: "operations" } }));
        const roles = ofType(resources, "aws:iam/role:Role");
        assert.deepEqual(
            roles.map(({ inputs }) => [inputs.namePrefix, inputs.path, inputs.permissionsBoundary]),
            ["aws-balancer", "aws-discovery", "aws-pool"].map((name) => [
                `gateway-test-${name}-`,
                "/gateways/",
                permissionsBoundary,
            ]),
        );
        for (const { inputs } of ofType(resources, "aws:iam/instanceProfile:InstanceProfile")) {
            assert.match(String(inputs.namePrefix), /^gateway-test-aws-.*-$/);
            assert.equal(inputs.path, "/gateways/");
        }
        const { tags } = JSON.parse(
            String(named(resources, "aws-provider", "pulumi:providers:aws").inputs.defaultTags),
        );
        assert.deepEqual(tags, { team: "operations", project: "gateway", stack: "test", "managed-by": "pulumi" });
        // An AutoScaling group's instances and volumes do not get the provider's tags.
        const template = JSON.stringify(named(resources, "aws-pool-template", TEMPLATE).inputs);
        assert.match(template, /"team":"operations"/);
    });

    it("lets agents find the servers by tag, and by address where that fails", async () => {
        const { resources } = await deployment();
        const { text } = decodeUserData(named(resources, "aws-pool-template", TEMPLATE).inputs.userData);
        assert.ok(
            text.includes(
                "provider=aws region=eu-central-1 tag_key=gateway-consul tag_value=gateway-test addr_type=private_v4",
            ),
        );
        for (const address of ["10.20.128.4", "10.20.144.4", "10.20.160.4"]) assert.ok(text.includes(address), address);
        const tagged = ofType(resources, INSTANCE).filter(
            ({ inputs }) => (inputs.tags as Record<string, string>)["gateway-consul"] === "gateway-test",
        );
        assert.deepEqual(
            tagged.map(({ name }) => name),
            ["aws-discovery-0", "aws-discovery-1", "aws-discovery-2"],
        );
    });

    it("scales when it shall, and leaves alone what scaling has changed", async () => {
        const { resources } = await program(aws({ targetTracking: { cpuPercent: 55, maxSize: 8 } }));
        const group = named(resources, "aws-pool", GROUP);
        assert.deepEqual([group.inputs.minSize, group.inputs.maxSize], [2, 8]);
        assert.deepEqual(group.ignoreChanges, ["desiredCapacity"]);
        assert.deepEqual(inputsOf(named(resources, "aws-pool-load", "aws:autoscaling/policy:Policy")), {
            autoscalingGroupName: "gateway-test-aws-pool",
            policyType: "TargetTrackingScaling",
            targetTrackingConfiguration: {
                predefinedMetricSpecification: { predefinedMetricType: "ASGAverageCPUUtilization" },
                targetValue: 55,
            },
        });
    });

    it("buys as the configuration says", async () => {
        const { resources } = await program(
            aws({ instanceTypes: ["m7i.large", "c6a.large"], onDemandBase: 1, spotMaxPrice: 0.04 }),
        );
        const policy = named(resources, "aws-pool", GROUP).inputs.mixedInstancesPolicy as {
            instancesDistribution: Record<string, unknown>;
            launchTemplate: { overrides: unknown };
        };
        assert.equal(policy.instancesDistribution.onDemandBaseCapacity, 1);
        assert.equal(policy.instancesDistribution.spotMaxPrice, "0.04");
        assert.deepEqual(policy.launchTemplate.overrides, [
            { instanceType: "m7i.large" },
            { instanceType: "c6a.large" },
        ]);
        const { resources: onDemand } = await program(aws({ spot: false }));
        const { instancesDistribution } = named(onDemand, "aws-pool", GROUP).inputs
            .mixedInstancesPolicy as typeof policy;
        assert.equal(instancesDistribution.onDemandPercentageAboveBaseCapacity, 100);
    });

    it("checks as often, and halts a roll-out as long, as the configuration says", async () => {
        const { resources } = await program(aws({ checkSeconds: 5, checkpointSeconds: 900 }));
        const intervals = resources
            .filter(({ type }) => type === "aws:lb/targetGroup:TargetGroup")
            .map(({ inputs }) => (inputs.healthCheck as { interval: number }).interval);
        assert.deepEqual(intervals, [5, 5, 5]);
        const { preferences } = named(resources, "aws-pool", GROUP).inputs.instanceRefresh as {
            preferences: Record<string, unknown>;
        };
        assert.equal(preferences.checkpointDelay, "900");
    });

    it("replaces nothing by itself when that is switched off", async () => {
        const { resources } = await program({ "gateway:replacement": { enabled: "false" } });
        assert.deepEqual(named(resources, "aws-pool", GROUP).inputs.suspendedProcesses, ["ReplaceUnhealthy"]);
    });

    it("changes the template and nothing else when the gateway's environment changes", async () => {
        const before = await deployment();
        const after = await program({ "gateway:service": { environment: { GREETING: "hello" } } });
        const changed = byName(after.resources).filter((resource) => {
            const earlier = named(before.resources, resource.name, resource.type);
            return JSON.stringify(inputsOf(earlier)) !== JSON.stringify(inputsOf(resource));
        });
        assert.deepEqual(
            changed.map(({ name }) => name),
            ["aws-pool-template"],
        );
    });

    it("returns what clients, operators and scripts need", async () => {
        const { result } = await deployment();
        assert.deepEqual(result, {
            aws: {
                endpoints: ["aws-edge-nlb.elb.example.org:9190"],
                gateways: [],
                balancerStatus: ["http://10.20.128.7:9192", "http://10.20.144.7:9192"],
                consulUi: "https://10.20.128.4:8501/ui",
            },
        });
    });

    for (const [stack, golden] of [
        ["consul-template-haproxy", "aws-dev"],
        ["fabio", "aws-dev-fabio"],
        ["serf-haproxy", "aws-dev-serf"],
    ] as const) {
        describe(`with stack ${stack}`, () => {
            const kinds = {
                ...(stack === "serf-haproxy" ? {} : { "aws-discovery-0": "discovery" }),
                "aws-balancer-1": "balancer",
                "aws-pool-template": "pool",
            };
            /** Whether machines read the secret. */
            const stored = (secret: string) =>
                stack === "serf-haproxy"
                    ? ["gossipKey", "serfRpcKey"].includes(secret)
                    : // The authority's key never leaves the state, the accessor of the management token is Consul's own affair, and there is no Serf.
                      !["caKey", "managementTokenAccessor", "serfRpcKey"].includes(secret);

            it("gives each resource the inputs, the parents and the provider of the golden file", async () => {
                const { resources } = await deployment(stack);
                const all = byName(resources).map((resource) => ({
                    urn: `${resource.typeChain}::${resource.name}`,
                    provider: resource.provider,
                    inputs: goldenInputs(resource),
                    secretInputs: resource.secretInputs,
                }));
                assertGolden(`program/${golden}.json`, goldenJson(all));
            });

            it("lets machines read exactly the secrets that their user data names", async () => {
                const { resources } = await deployment(stack);
                for (const [name, kind] of Object.entries(kinds)) {
                    const [, userData = ""] = userDataOf(resources).find(([resource]) => resource === name) ?? [];
                    const { text, machine } = decodeUserData(userData);
                    assert.deepEqual(machine.secrets, { kind: "ssm", region: "eu-central-1", prefix: "/gateway/test" });
                    const named_ = [
                        ...new Set([...text.matchAll(/@@secret:(\w+)@@/g)].map(([, secret]) => secret)),
                    ].sort();
                    const { inputs } = named(resources, `aws-${kind}-policy`, "aws:iam/rolePolicy:RolePolicy");
                    const allowed = [...String(inputs.policy).matchAll(/arn:aws-discovery-secret-(\w+)/g)].map(
                        ([, secret]) => secret,
                    );
                    assert.deepEqual(allowed, named_, kind);
                }
            });

            it("stores secrets as encrypted parameters, and nowhere else", async () => {
                const { resources, result } = await deployment(stack);
                const parameters = ofType(resources, "aws:ssm/parameter:Parameter");
                assert.deepEqual(
                    Object.fromEntries(parameters.map(({ inputs }) => [inputs.name, inputs.value])),
                    Object.fromEntries(
                        Object.entries(allMockSecrets)
                            .filter(([secret]) => stored(secret))
                            .map(([secret, value]) => [`/gateway/test/${secret}`, value]),
                    ),
                );
                for (const { name, inputs, secretInputs } of parameters) {
                    assert.deepEqual([inputs.type, secretInputs], ["SecureString", ["value"]], name);
                    assert.ok(!String(inputs.name).slice(1).startsWith("aws"), name);
                }
                const others = resources.filter(({ type }) => type !== "aws:ssm/parameter:Parameter");
                const texts = [
                    ...others.map(({ name, inputs }) => [name, JSON.stringify(inputs)] as const),
                    ...userDataOf(resources).map(([name, userData]) => [name, decodeUserData(userData).text] as const),
                    ["outputs", JSON.stringify(result)] as const,
                ];
                for (const [name, text] of texts) {
                    for (const secret of Object.values(allMockSecrets))
                        assert.ok(!text.includes(secret), `${name} holds ${secret}`);
                }
            });

            it("keeps every machine's user data below what EC2 takes", async () => {
                const { resources } = await deployment(stack);
                const all = userDataOf(resources);
                assert.equal(all.length, stack === "serf-haproxy" ? 3 : 6);
                for (const [name, userData] of all) {
                    const { bytes } = decodeUserData(userData);
                    assert.ok(bytes < 16 * 1024, `${name}: ${bytes} bytes`);
                }
            });

            it("previews the same resources when nothing exists yet", async () => {
                const deployed = await deployment(stack);
                const { resources } = await program(balancedBy(stack), { preview: "new" });
                assert.deepEqual(byName(resources).map(key), byName(deployed.resources).map(key));
                // Addresses are arithmetic, so a preview shows them; identifiers are AWS's to give.
                const { inputs } = named(resources, "aws-balancer-0", INSTANCE);
                assert.equal(inputs.privateIp, "10.20.128.7");
                assert.equal(inputs.subnetId, UNKNOWN);
                // Certificates are the credentials' to give; Serf has none.
                assert.equal(inputs.userDataBase64 === UNKNOWN, stack !== "serf-haproxy");
            });

            it("previews the very inputs of the deployment when it exists", async () => {
                const deployed = await deployment(stack);
                const previewed = await program(balancedBy(stack), { preview: "unchanged" });
                assert.deepEqual(byName(previewed.resources).map(inputsOf), byName(deployed.resources).map(inputsOf));
                assert.deepEqual(previewed.result, deployed.result);
            });

            it("changes nothing that depends on the stack before the credentials have allowed it", async () => {
                const { resources } = await deployment(stack);
                const known = new Map(resources.map((resource) => [resource.name, resource]));
                const after = (name: string): boolean =>
                    name === "aws-discovery-credentials" || (known.get(name)?.dependencies ?? []).some(after);
                const early = resources.filter(
                    ({ typeChain, name }) =>
                        typeChain.startsWith("gateway:index:") && typeChain.includes("$") && !after(name),
                );
                // The keys are the same for every stack.
                assert.deepEqual(
                    early.filter(({ type }) => !type.startsWith("random:")).map(({ name }) => name),
                    [],
                );
            });

            it("makes the keys that machines share with Pulumi's random provider, as secrets", async () => {
                const { resources } = await deployment(stack);
                const made = resources.filter(({ name, type }) => type.startsWith("random:") && name.includes("keys"));
                assert.deepEqual(
                    byName(made).map(({ name, type, inputs }) => [name, type, inputs.length]),
                    [
                        ["aws-discovery-keys-gossip", "random:index/randomBytes:RandomBytes", 32],
                        ["aws-discovery-keys-serf-rpc", "random:index/randomPassword:RandomPassword", 32],
                    ],
                );
                const credentials = named(resources, "aws-discovery-credentials", credentialsType);
                assert.deepEqual(credentials.inputs.keys, {
                    gossipKey: "aws-discovery-keys-gossip in base64",
                    serfRpcKey: "aws-discovery-keys-serf-rpc as text",
                });
                assert.ok(credentials.secretInputs.includes("keys"));
            });
        });
    }

    it("changes balancers, templates and rights, and nothing of the network, when the stack changes to Fabio", async () => {
        const before = await deployment();
        const after = await deployment("fabio");
        assert.deepEqual(byName(after.resources).map(key), byName(before.resources).map(key));
        const changed = byName(after.resources).filter(
            (resource) =>
                JSON.stringify(inputsOf(named(before.resources, resource.name, resource.type))) !==
                JSON.stringify(inputsOf(resource)),
        );
        // No check among them: the target group of balancers is asked the same of either, while both are in it.
        assert.deepEqual(
            changed.map(({ name }) => name),
            ["aws-balancer-0", "aws-balancer-1", "aws-balancer-policy", "aws-pool-template"],
        );
        assert.deepEqual(policiesOf(after.resources)["aws-balancer-policy"], [
            read("balancerAgentToken", "fabioToken", "gossipKey"),
            find,
        ]);
    });

    it("shortens how long a balancer with Fabio waits for a lost host, and no other machine's kernel", async () => {
        const { resources } = await deployment("fabio");
        const set = userDataOf(resources).filter(([, userData]) =>
            decodeUserData(userData).text.includes("net.ipv4.tcp_retries2 = 5"),
        );
        assert.deepEqual(
            set.map(([name]) => name),
            ["aws-balancer-0", "aws-balancer-1"],
        );
    });

    describe("without Consul, by Serf", () => {
        const deployed = () => deployment("serf-haproxy");

        it("has no server of it, nothing that speaks of it, and no right to look for one", async () => {
            const { resources, result } = await deployed();
            assert.deepEqual(
                ofType(resources, INSTANCE).map(({ name }) => name),
                ["aws-balancer-0", "aws-balancer-1"],
            );
            for (const [name, userData] of userDataOf(resources)) {
                const { machine } = decodeUserData(userData);
                assert.doesNotMatch(JSON.stringify(machine), /consul/i, name);
            }
            assert.deepEqual(policiesOf(resources), {
                "aws-balancer-policy": [read("gossipKey", "serfRpcKey")],
                "aws-pool-policy": [read("gossipKey", "serfRpcKey"), complete],
            });
            assert.deepEqual(
                ofType(resources, "aws:lb/listener:Listener").map(({ inputs }) => inputs.port),
                [9190, 9191],
            );
            assert.deepEqual(Object.keys(result.aws ?? {}), ["endpoints", "gateways", "balancerStatus"]);
        });

        it("lets gossip go between all machines, by TCP and UDP, and nobody to the agents' RPC", async () => {
            const { resources } = await deployed();
            assert.deepEqual(openAmongGroups(resources), [
                "balancer tcp 7946 7946 members",
                "balancer tcp 9190 9190 edge",
                "balancer tcp 9192 9192 edge",
                "balancer tcp 9192 9192 members",
                "balancer udp 7946 7946 members",
                "pool tcp 7946 7946 members",
                "pool tcp 9190 9190 members",
                "pool tcp 9191 9191 edge",
                "pool tcp 9191 9191 members",
                "pool udp 7946 7946 members",
            ]);
        });

        it("lets every agent join the balancers, and each balancer the other", async () => {
            const { resources } = await deployed();
            const joined = userDataOf(resources).map(([name, userData]) => {
                const { files } = decodeUserData(userData).machine;
                const agent = files.find(({ path }) => path.endsWith("serf/agent.json"))?.content ?? "";
                return [name, (JSON.parse(agent) as { retry_join: string[] }).retry_join];
            });
            assert.deepEqual(Object.fromEntries(joined), {
                "aws-balancer-0": ["10.20.144.7"],
                "aws-balancer-1": ["10.20.128.7"],
                "aws-pool-template": ["10.20.128.7", "10.20.144.7"],
            });
        });
    });

    describe("in a given network", () => {
        const [a = "", b = "", alsoB = "", elsewhere = "", small = ""] = Object.keys(GIVEN_SUBNETS);
        const network = (subnetIds: string[], more = {}) =>
            aws({ network: { kind: "given", vpcId: "vpc-00000000000000001", subnetIds, ...more } });

        it("makes no network, and takes addresses of the given subnets", async () => {
            const { resources } = await program(network([a, b], { firstHost: 20, loadBalancerSubnetIds: [alsoB, a] }));
            assert.deepEqual(
                resources.filter(({ type }) => /vpc:Vpc|subnet:Subnet|route|internetGateway/i.test(type)).map(key),
                [],
            );
            const places = ofType(resources, INSTANCE).map(({ name, inputs }) => [
                name,
                inputs.subnetId,
                inputs.privateIp,
            ]);
            assert.deepEqual(places, [
                ["aws-balancer-0", a, "172.31.0.23"],
                ["aws-balancer-1", b, "172.31.16.23"],
                ["aws-discovery-0", a, "172.31.0.20"],
                ["aws-discovery-1", b, "172.31.16.20"],
                ["aws-discovery-2", a, "172.31.0.21"],
            ]);
            assert.deepEqual(named(resources, "aws-pool", GROUP).inputs.vpcZoneIdentifiers, [a, b]);
            assert.deepEqual(named(resources, "aws-edge-nlb", "aws:lb/loadBalancer:LoadBalancer").inputs.subnets, [
                alsoB,
                a,
            ]);
        });

        it("refuses addresses that a subnet does not have", async () => {
            await assert.rejects(
                program(network([small, b], { firstHost: 20 })),
                /gateway:aws.network.firstHost: 172.31.64.0\/28 has no address 20 for a machine; allowed: less/,
            );
        });

        it("refuses two subnets of one zone, and one of another VPC", async () => {
            await assert.rejects(
                program(network([a, b, alsoB])),
                /subnetIds\[2\]: .* is in eu-central-1b, as another one is/,
            );
            await assert.rejects(
                program(network([a, elsewhere])),
                /subnetIds\[1\]: .* is in vpc-00000000000000002, not in/,
            );
        });
    });

    it("sends everything to an emulator when one is named, and opens the way to it", async () => {
        const emulator = { api: "http://127.0.0.1:5661", machines: "http://198.18.0.1:5661" };
        const { resources } = await program(aws({ emulator }));
        const { inputs } = named(resources, "aws-provider", "pulumi:providers:aws");
        const [endpoints] = JSON.parse(String(inputs.endpoints)) as Record<string, string>[];
        assert.deepEqual([...new Set(Object.values(endpoints ?? {}))], [emulator.api]);
        assert.deepEqual(named(resources, "aws-pool-ready", GATE).inputs.endpoint, emulator.api);
        const { machine, text } = decodeUserData(named(resources, "aws-pool-template", TEMPLATE).inputs.userData);
        assert.equal((machine.secrets as { endpoint?: string }).endpoint, emulator.machines);
        assert.ok(text.includes(`endpoint=${emulator.machines}`));
        assert.equal(named(resources, "aws-network-outside-5661", EGRESS).inputs.fromPort, 5661);
    });

    it("says what to do when the list of artifacts is not there, and registers nothing", async () => {
        let registered: readonly Registration[] = [];
        const config = {
            ...awsDevConfig(),
            "gateway:image": { artifacts: "https://a.example.org", manifest: "nowhere/list.json" },
        };
        await assert.rejects(
            run(require("../../index") as () => Promise<object>, { config, seen: (all) => (registered = all) }),
            /gateway:image.manifest: there is no nowhere\/list.json; "npm run artifacts -- --out nowhere" makes it/,
        );
        assert.deepEqual(registered, []);
    });

    it("registers nothing on a bad configuration", async () => {
        let registered: readonly Registration[] = [];
        await assert.rejects(
            program(aws({ network: { kind: "own", zones: ["eu-central-1a"] } }), { seen: (all) => (registered = all) }),
            (error: Error) => error instanceof ConfigError && error.message.includes("gateway:aws.network.zones"),
        );
        assert.deepEqual(registered, []);
    });
});
