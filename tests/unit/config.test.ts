import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import fc from "fast-check";
import { parse } from "yaml";
import { ConfigError, type GatewayConfig, loadConfig, parseConfig } from "../../config";
import { CONFIG_KEYS } from "../../config/schema";

const DEFAULTS: GatewayConfig = {
    targets: ["local"],
    poolSize: 2,
    service: {
        name: "gateway-sample",
        port: 9190,
        install: { kind: "sample" },
        argv: [],
        environment: {},
        healthCheck: { kind: "thrift", method: "ping", framed: false },
        checks: { preset: "fast" },
        maxConnections: 1000,
        queueSeconds: 1,
        idleSeconds: 3600,
        stopTimeoutSeconds: 30,
    },
    discoveryServers: 3,
    datacenter: "dc1",
    loadBalancerStack: "consul-template-haproxy",
    balancers: 2,
    balancerPort: 9190,
    balancerSlots: 16,
    drainSeconds: 30,
    replacementEnabled: true,
    replacementPolicy: {},
    image: { prebaked: false, manifest: "artifacts/artifacts.json" },
    aws: {
        network: { kind: "own", cidr: "10.20.0.0/16" },
        clientCidrs: [],
        clientPrefixLists: [],
        internetFacing: false,
        instanceTypes: ["t3.small", "t3a.small", "t2.small"],
        fixedInstanceType: "t3.small",
        spot: true,
        onDemandBase: 0,
        checkSeconds: 10,
        checkpointSeconds: 60,
        newestImage: false,
        tags: {},
        iam: { path: "/" },
        volumeGib: 10,
    },
    openstack: {
        network: { kind: "own", cidr: "10.30.0.0/24", dnsServers: [] },
        floatingIp: true,
        clientCidrs: [],
        frontend: { kind: "keepalived", virtualRouterId: 51 },
        serverGroupPolicy: "soft-anti-affinity",
        apiPorts: [443, 5000, 8774, 8776, 8778, 9292, 9696, 9876],
    },
    secrets: {},
    localNetwork: "127.90.0.0/24",
    consulObjects: true,
};

/** Every setting of target aws. */
const AWS = {
    region: "eu-west-1",
    network: {
        kind: "given",
        vpcId: "vpc-0123456789abcdef0",
        subnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        loadBalancerSubnetIds: ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
        firstHost: 20,
    },
    clientCidrs: ["203.0.113.0/24"],
    clientPrefixLists: ["pl-0123456789abcdef0"],
    internetFacing: true,
    instanceTypes: ["m7i.large", "c6a.xlarge"],
    fixedInstanceType: "t3a.small",
    spot: true,
    onDemandBase: 1,
    spotMaxPrice: 0.05,
    targetTracking: { cpuPercent: 50, maxSize: 10 },
    imageId: "ami-0123456789abcdef0",
    newestImage: true,
    tags: { "cost center": "42" },
    iam: { path: "/gateways/", permissionsBoundary: "arn:aws:iam::123456789012:policy/limits/gateways" },
    volumeGib: 20,
    kmsKeyArn: "arn:aws:kms:eu-west-1:123456789012:key/0b0e5c1e-0000-4000-8000-000000000000",
    keyName: "on call",
    checkSeconds: 5,
    checkpointSeconds: 0,
    emulator: { api: "http://127.0.0.1:5000", machines: "http://198.18.0.1:5000" },
} as const;

/** Every setting of target openstack. */
const OPENSTACK = {
    cloud: "lab",
    region: "RegionOne",
    network: {
        kind: "given",
        networkId: "00000000-0000-4000-8000-000000000001",
        subnetId: "00000000-0000-4000-8000-000000000002",
        firstHost: 20,
    },
    externalNetwork: "public",
    floatingIp: false,
    clientCidrs: ["203.0.113.0/24"],
    frontend: { kind: "octavia", provider: "amphora" },
    imageId: "00000000-0000-4000-8000-000000000003",
    flavor: "m3.small",
    fixedFlavor: "m3.tiny",
    bootVolume: { sizeGib: 10, type: "ssd" },
    serverGroupPolicy: "anti-affinity",
    availabilityZone: "nova",
    keyPair: "on call",
    apiPorts: [443],
    loop: {
        authUrl: "https://cloud.example.org:5000/v3",
        credentialId: "0123456789abcdef0123456789abcdef",
        stateBackend: "s3://state?region=us-east-1",
        allowPlainHttp: true,
    },
} as const;

/** The error that some settings give. */
function errorOf(raw: Record<string, unknown>, surroundings = {}): ConfigError {
    try {
        parseConfig(raw, surroundings);
    } catch (error) {
        assert(error instanceof ConfigError);
        return error;
    }
    return assert.fail("the configuration was accepted");
}

/** The problems of some settings on target `local`, each as `key: message`. */
const problems = (raw: Record<string, unknown>) =>
    errorOf({ targets: ["local"], ...raw }).problems.map(({ key, message }) => `${key}: ${message}`);

const local = (raw: Record<string, unknown> = {}) => parseConfig({ targets: ["local"], ...raw });

describe("the configuration", () => {
    it("has a default for every key except the targets", () => {
        assert.deepEqual(local(), { config: DEFAULTS, warnings: [] });
        assert.deepEqual(parseConfig({ targets: "local" }).config, DEFAULTS);
    });

    it("accepts every key", () => {
        const { config, warnings } = local({
            pool: { size: 5 },
            service: {
                name: "api-server",
                port: 8930,
                install: { kind: "archive", url: "https://example.org/a.tar.gz", sha256: "a".repeat(64) },
                argv: ["bin/api", "--port", "8930"],
                environment: { LOG_LEVEL: "info" },
                healthCheck: {
                    kind: "thrift",
                    service: "Api",
                    method: "getVersion",
                    framed: true,
                    arguments: [{ id: 1, kind: "struct", fields: [{ id: 2, kind: "i64", value: 3 }] }],
                    exception: "healthy",
                },
                checks: { preset: "tolerant", timeoutMilliseconds: 9000 },
                maxConnections: 20,
                queueSeconds: 5,
                maxQueue: 50,
                idleSeconds: 60,
                stopTimeoutSeconds: 5,
            },
            discovery: { servers: 5, datacenter: "lab" },
            loadBalancer: { stack: "consul-template-haproxy", balancers: 3, port: 9000, slots: 10, drainSeconds: 0 },
            replacement: { enabled: false, softSeconds: 2.5, dryRun: true },
            image: { prebaked: true },
            aws: AWS,
            openstack: OPENSTACK,
            local: { network: "127.1.2.0/24" },
            consulObjects: false,
        });
        assert.deepEqual(warnings, []);
        assert.deepEqual(config, {
            targets: ["local"],
            poolSize: 5,
            service: {
                name: "api-server",
                port: 8930,
                install: {
                    kind: "archive",
                    url: "https://example.org/a.tar.gz",
                    sha256: "a".repeat(64),
                    format: "tar.gz",
                },
                argv: ["bin/api", "--port", "8930"],
                environment: { LOG_LEVEL: "info" },
                healthCheck: {
                    kind: "thrift",
                    service: "Api",
                    method: "getVersion",
                    framed: true,
                    arguments: [{ id: 1, kind: "struct", fields: [{ id: 2, kind: "i64", value: 3 }] }],
                    exception: "healthy",
                },
                checks: { preset: "tolerant", timeoutMilliseconds: 9000 },
                maxConnections: 20,
                queueSeconds: 5,
                maxQueue: 50,
                idleSeconds: 60,
                stopTimeoutSeconds: 5,
            },
            discoveryServers: 5,
            datacenter: "lab",
            loadBalancerStack: "consul-template-haproxy",
            balancers: 3,
            balancerPort: 9000,
            balancerSlots: 10,
            drainSeconds: 0,
            replacementEnabled: false,
            replacementPolicy: { softSeconds: 2.5, dryRun: true },
            image: { prebaked: true, manifest: "artifacts/artifacts.json" },
            aws: AWS,
            openstack: OPENSTACK,
            secrets: {},
            localNetwork: "127.1.2.0/24",
            consulObjects: false,
        });
    });

    it("accepts strings for numbers and booleans, as `pulumi config set` stores them, if they have only one reading", () => {
        const { config } = local({
            pool: { size: "3" },
            discovery: { servers: "5" },
            replacement: { enabled: "false", softSeconds: "2.5" },
            consulObjects: "false",
        });
        assert.equal(config.poolSize, 3);
        assert.equal(config.discoveryServers, 5);
        assert.equal(config.replacementEnabled, false);
        assert.deepEqual(config.replacementPolicy, { softSeconds: 2.5 });
        assert.equal(config.consulObjects, false);
        for (const size of ["03", "0x3", "3 ", "", "three", "1e1"]) {
            assert.deepEqual(problems({ pool: { size } }), [
                `gateway:pool.size: got ${JSON.stringify(size)}; allowed: a whole number from 1 to 200`,
            ]);
        }
        assert.deepEqual(problems({ consulObjects: "yes" }), [
            'gateway:consulObjects: got "yes"; allowed: true or false',
        ]);
    });

    it("checks a string that stands for a number like a number", () => {
        assert.deepEqual(problems({ pool: { size: "201" } }), [
            "gateway:pool.size: got 201; allowed: a whole number from 1 to 200",
        ]);
    });

    it("gives the balancers room for twice a large pool", () => {
        assert.equal(local({ pool: { size: 40 } }).config.balancerSlots, 80);
    });

    it("requires at least one target, each once", () => {
        const message = "one or more of local, aws and openstack, each once";
        assert.deepEqual(
            errorOf({}).problems.map((problem) => problem.message),
            [`not set; allowed: ${message}`],
        );
        assert.deepEqual(problems({ targets: [] }), [`gateway:targets: got an empty list; allowed: ${message}`]);
        assert.deepEqual(problems({ targets: ["local", "local"] }), [
            "gateway:targets: got local 2 times; allowed: each target once",
        ]);
    });

    it("names an unknown target, along with all other problems", () => {
        assert.deepEqual(
            problems({ targets: ["aws", "openstack", "gcp"], loadBalancer: { stack: "fabio", slots: 0 } }),
            [
                'gateway:targets[2]: got "gcp"; allowed: local, aws or openstack',
                "gateway:loadBalancer.slots: got 0; allowed: a whole number from 1 to 1000",
            ],
        );
    });

    it("with Serf, counts only the balancers as observers", () => {
        const raw = (stack: string) => ({
            targets: ["local"],
            loadBalancer: { stack },
            replacement: { softObservers: 3 },
        });
        assert.equal(parseConfig(raw("consul-template-haproxy")).config.replacementPolicy.softObservers, 3);
        assert.match(problems(raw("serf-haproxy")).join(), /allowed: a whole number from 1 to 2, for each balancer$/);
    });

    it("gives the command that corrects each problem", () => {
        const remedy = (raw: Record<string, unknown>) =>
            errorOf({ targets: ["local"], ...raw }).problems.map((problem) => problem.remedy);
        assert.deepEqual(remedy({ pool: { size: 0 } }), ["pulumi config set --path 'gateway:pool.size' 2"]);
        assert.deepEqual(remedy({ consulObjects: 7 }), ["pulumi config set gateway:consulObjects true"]);
        assert.deepEqual(remedy({ pool: 3 }), ["pulumi config rm gateway:pool"]);
        assert.deepEqual(remedy({ targets: ["openstak"] }), [
            "pulumi config set --path 'gateway:targets[0]' openstack",
        ]);
        assert.deepEqual(remedy({ loadBalancer: { stack: "haproxy" } }), [
            "pulumi config set --path 'gateway:loadBalancer.stack' consul-template-haproxy",
        ]);
        assert.deepEqual(remedy({ targets: { local: true } }), [
            "pulumi config rm gateway:targets && pulumi config set --path 'gateway:targets[0]' local",
        ]);
        assert.deepEqual(remedy({ pol: { size: 3 } }), ["rename it in the file"]);
        assert.deepEqual(remedy({ pol: 3 }), ["rename it in the file"]);
        assert.deepEqual(remedy({ pool: { Size: 3 } }), [
            "pulumi config rm --path 'gateway:pool.Size' && pulumi config set --path 'gateway:pool.size' 3",
        ]);
        assert.deepEqual(remedy({ service: { environment: { "it's": "x" } } }), [
            "pulumi config rm --path 'gateway:service.environment[\"it'\\''s\"]'",
        ]);
        assert.deepEqual(remedy({ service: { install: { kind: "prebaked" } } }), [
            "pulumi config set --path 'gateway:service.argv[0]' bin/server",
        ]);
    });

    it("finds the nearest key, on the same level first", () => {
        assert.deepEqual(
            problems({
                pol: { size: 3 },
                size: 3,
                zebra: 1,
                loadbalancer: {},
                service: { helthCheck: {}, install: { kind: "archive", url: "http://a/", sha265: "" }, quite: "else" },
            }),
            [
                "gateway:service.helthCheck: no such key; did you mean gateway:service.healthCheck?",
                "gateway:service.install.sha265: no such key; did you mean gateway:service.install.sha256?",
                "gateway:service.quite: no such key; allowed: the keys name, port, install, argv, environment, healthCheck, checks, maxConnections, queueSeconds, maxQueue, idleSeconds and stopTimeoutSeconds",
                "gateway:loadbalancer: no such key; did you mean gateway:loadBalancer?",
                "gateway:pol: no such key; did you mean gateway:pool?",
                "gateway:size: no such key; did you mean gateway:pool.size?",
                "gateway:zebra: no such key; allowed: the keys targets, pool, service, discovery, loadBalancer, replacement, image, aws, openstack, local, secrets and consulObjects",
            ],
        );
    });

    it("explains unions by the key kind", () => {
        assert.deepEqual(problems({ service: { install: {} } }), [
            "gateway:service.install.kind: not set; allowed: sample, archive, image or prebaked",
        ]);
        assert.deepEqual(problems({ service: { healthCheck: { kind: "thirft" } } }), [
            'gateway:service.healthCheck.kind: got "thirft"; allowed: thrift, tcp or http',
        ]);
        assert.deepEqual(problems({ service: { healthCheck: { kind: "http", framed: true } } }), [
            "gateway:service.healthCheck.framed: no such key; allowed: the keys kind, path and status",
            "gateway:service.healthCheck.path: not set; allowed: a path that begins with /",
        ]);
        assert.deepEqual(problems({ service: { install: "sample" } }), [
            'gateway:service.install: got "sample"; allowed: a map whose kind is sample, archive, image or prebaked',
        ]);
    });

    it("refuses invalid values", () => {
        const refused: [Record<string, unknown>, string][] = [
            [{ service: { name: "Api" } }, "service.name"],
            [{ service: { name: "a".repeat(64) } }, "service.name"],
            [{ service: { port: 65536 } }, "service.port"],
            [{ service: { port: 1.5 } }, "service.port"],
            [{ service: { argv: "bin/server" } }, "service.argv"],
            [{ service: { argv: ["a\nb"], install: { kind: "prebaked" } } }, "service.argv[0]"],
            [{ service: { environment: { "A-B": "x" } } }, "service.environment.A-B"],
            [{ service: { environment: { A: "x\ny" } } }, "service.environment.A"],
            [{ service: { maxConnections: 0 } }, "service.maxConnections"],
            [{ service: { stopTimeoutSeconds: 0 } }, "service.stopTimeoutSeconds"],
            [{ service: { healthCheck: { kind: "thrift", method: "a b" } } }, "service.healthCheck.method"],
            [{ discovery: { servers: 2 } }, "discovery.servers"],
            [{ discovery: { datacenter: "DC1" } }, "discovery.datacenter"],
            [{ loadBalancer: { balancers: 6 } }, "loadBalancer.balancers"],
            [{ loadBalancer: { drainSeconds: -1 } }, "loadBalancer.drainSeconds"],
            [{ replacement: { softSeconds: 0 } }, "replacement.softSeconds"],
            [{ local: { network: "127.0.0.0/24" } }, "local.network"],
            [{ local: { network: "10.0.0.0/24" } }, "local.network"],
            [{ local: { network: "127.1.256.0/24" } }, "local.network"],
            [{ local: { network: "127.1.2.0/16" } }, "local.network"],
            [{ local: { network: "127.1.2.3/24" } }, "local.network"],
        ];
        for (const [raw, key] of refused) {
            assert.deepEqual(
                errorOf({ targets: ["local"], ...raw }).problems.map((problem) => problem.key),
                [`gateway:${key}`],
                JSON.stringify(raw),
            );
        }
    });

    it("wants quotes around numbers where a string is wanted, because YAML may have changed them", () => {
        assert.deepEqual(problems({ discovery: { datacenter: 1 } }), [
            "gateway:discovery.datacenter: got 1; allowed: 1 to 63 of a-z, 0-9, _ and -, in quotes",
        ]);
    });

    it("never shows a value that may be a secret", () => {
        const error = errorOf(
            {
                targets: ["local"],
                token: "hunter2",
                pool: { size: "hunter2" },
                service: { environment: { PATH_PREFIX: "hunter2\n", A: { B: "hunter2" } }, argv: { key: "hunter2" } },
            },
            { secretKeys: ["pool"] },
        );
        assert.equal(error.problems.length, 6);
        assert.doesNotMatch(error.message, /hunter2/);
        assert.match(error.message, /gateway:pool: holds a secret value.*allowed: no secrets/);
    });

    it("finds keys that contradict each other", () => {
        const prebaked = { install: { kind: "prebaked" }, argv: ["/opt/server"] };
        const contradictory: [Record<string, unknown>, string][] = [
            [
                { service: { install: { kind: "prebaked" } } },
                "service.argv: not set, but install.kind is prebaked; allowed: the command line as a list of strings, the program first",
            ],
            [
                { service: { argv: ["x"] } },
                "service.argv: got a command line, but install.kind is sample, which has its own",
            ],
            [
                { service: { healthCheck: { kind: "http", path: "/" } } },
                "service.healthCheck: got kind http, but install.kind is sample, which speaks Thrift only; allowed: thrift or tcp",
            ],
            [
                { service: { healthCheck: { kind: "thrift", method: "pong" } } },
                'service.healthCheck.method: got "pong", but install.kind is sample; allowed: ping',
            ],
            [
                { service: { install: { kind: "image", reference: "a/b:1" }, argv: ["x"] } },
                "service.install.kind: got image, which target local cannot run, because it has no container runtime; allowed: sample, archive or prebaked",
            ],
            [
                { service: { ...prebaked, name: "consul" } },
                "service.name: got consul, the name of Consul's own service; allowed: another name",
            ],
            [
                { service: { port: 8500 } },
                "service.port: got 8500, the port of Consul's HTTP API; allowed: any but 7373, 7946, 8300, 8301, 8302, 8500, 8501, 9191, 9192",
            ],
            [
                { loadBalancer: { port: 9192 } },
                "loadBalancer.port: got 9192, the port of the balancer's status page; allowed: any but 7373, 7946, 8300, 8301, 8302, 8500, 8501, 9191, 9192",
            ],
            [
                { pool: { size: 9 }, loadBalancer: { slots: 8 } },
                "loadBalancer.slots: got 8; allowed: 9 or more, because pool.size is 9",
            ],
            [
                { replacement: { softObservers: 4 } },
                "replacement.softObservers: got 4; allowed: a whole number from 1 to 3, for Consul and each balancer",
            ],
        ];
        for (const [raw, message] of contradictory) assert.deepEqual(problems(raw), [`gateway:${message}`]);
    });

    it("allows a single Consul server or balancer on target local only", () => {
        const raw = {
            targets: ["local", "aws"],
            discovery: { servers: 1 },
            loadBalancer: { balancers: 1 },
            image: { artifacts: "https://artifacts.example.org" },
            aws: { region: "eu-central-1", network: { kind: "own", zones: ["eu-central-1a", "eu-central-1b"] } },
        };
        assert.deepEqual(problems(raw), [
            "gateway:discovery.servers: got 1; allowed: 3 or 5, because not every target is local",
            "gateway:loadBalancer.balancers: got 1; allowed: a whole number from 2 to 5, because not every target is local",
        ]);
    });

    it("reports no contradiction with a value that is already wrong", () => {
        assert.deepEqual(problems({ pool: { size: "many" }, loadBalancer: { slots: 1 } }), [
            'gateway:pool.size: got "many"; allowed: a whole number from 1 to 200',
        ]);
        assert.deepEqual(problems({ service: { install: { kind: "prebaked" }, arg: ["x"] } }), [
            "gateway:service.arg: no such key; did you mean gateway:service.argv?",
        ]);
    });

    it("warns about settings that are allowed but unwise", () => {
        const { warnings } = local({
            pool: { size: 1 },
            service: {
                port: 90,
                environment: { API_TOKEN: "x", Db_Password: "y", LEVEL: "z" },
                healthCheck: { kind: "tcp" },
            },
            discovery: { servers: 1 },
            loadBalancer: { balancers: 1 },
        });
        assert.deepEqual(warnings, [
            "gateway:pool.size: 1 leaves no spare: every call fails while the gateway is replaced",
            "gateway:service.environment.API_TOKEN: looks like a secret; it is stored in plain text in the stack's state and on each machine",
            "gateway:service.environment.Db_Password: looks like a secret; it is stored in plain text in the stack's state and on each machine",
            "gateway:service.healthCheck: tcp passes a process that hangs, because the kernel accepts connections for it; thrift notices that",
            "gateway:discovery.servers: 1 is a single point of failure: while it is down, balancers see no change",
            "gateway:loadBalancer.balancers: 1 is a single point of failure: while it is down, every call fails",
            "gateway:service.port: on target local, only a privileged user can listen on port 90",
        ]);
        assert.deepEqual(local({ replacement: { maxGone: 2 } }).warnings, [
            "gateway:replacement.maxGone: 2 lets the loop take all 2 gateways out of service at once",
        ]);
    });

    it("reports everything in one message", () => {
        const error = errorOf(
            {
                target: ["local"],
                pool: { size: 0 },
                service: { port: "eighty", healthCheck: { kind: "thrift" }, install: { kind: "archve" } },
                discovery: { datacentre: "dc1" },
                loadBalancer: { stack: "fabio", slots: [] },
                local: { network: "192.168.0.0/24" },
            },
            { stack: "dev", otherKeys: ["gatewy:pool", "aws:region", "pulumi:tags"] },
        );
        assert.equal(
            error.message,
            `\
The configuration of stack dev has 9 problems; nothing was deployed.
  gateway:pool.size: got 0; allowed: a whole number from 1 to 200
      pulumi config set --path 'gateway:pool.size' 2
  gateway:service.healthCheck.method: not set; allowed: a Thrift identifier
      pulumi config set --path 'gateway:service.healthCheck.method' ping
  gateway:service.install.kind: got "archve"; allowed: sample, archive, image or prebaked
      pulumi config set --path 'gateway:service.install.kind' archive
  gateway:service.port: got "eighty"; allowed: a whole number from 1 to 65535
      pulumi config set --path 'gateway:service.port' 9190
  gateway:discovery.datacentre: no such key; did you mean gateway:discovery.datacenter?
      pulumi config rm --path 'gateway:discovery.datacentre' && pulumi config set --path 'gateway:discovery.datacenter' dc1
  gateway:loadBalancer.slots: got an empty list; allowed: a whole number from 1 to 1000
      pulumi config set --path 'gateway:loadBalancer.slots' 16
  gateway:local.network: got "192.168.0.0/24"; allowed: a network 127.x.y.0/24 other than 127.0.0.0/24
      pulumi config set --path 'gateway:local.network' 127.90.0.0/24
  gateway:target: no such key; did you mean gateway:targets?
      rename it in the file
  gatewy:pool: no such namespace; did you mean gateway:pool?
      pulumi config rm gatewy:pool
Correct Pulumi.dev.yaml, or use the commands above. All keys: docs/config.md`,
        );
        assert(pulumi.RunError.isInstance(error), "Pulumi would print a stack trace");
    });

    it("throws only a ConfigError, whatever the configuration contains", () => {
        const names = fc.constantFrom(
            ...CONFIG_KEYS,
            ...["size", "port", "kind", "install", "argv", "environment", "healthCheck", "servers", "slots", "network"],
            ...["__proto__", "constructor", "toString", "", "a.b", "softSeconds"],
        );
        const { json } = fc.letrec((tie) => ({
            json: fc.oneof(
                { depthSize: "small" },
                fc.constantFrom("local", "aws", "archive", "sample", "thrift", "http", "image", "3", "true", "dc1"),
                fc.jsonValue({ depthSize: "small" }),
                fc.array(tie("json"), { maxLength: 3 }),
                fc.array(fc.tuple(names, tie("json")), { maxLength: 5 }).map((entries) => {
                    // As JSON.parse does: "__proto__" is then a key like any other.
                    return JSON.parse(
                        `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join()}}`,
                    );
                }),
            ),
        }));
        const accepts = (raw: unknown) => {
            try {
                parseConfig(raw as Record<string, unknown>);
            } catch (error) {
                assert(error instanceof ConfigError, String(error));
                assert(error.problems.length > 0);
                const shown = error.problems.map(({ key, message }) => `${key}: ${message}`);
                assert.equal(new Set(shown).size, shown.length, "a problem is reported twice");
            }
        };
        fc.assert(fc.property(json, accepts), { numRuns: 500 });
        fc.assert(
            fc.property(fc.dictionary(names, json), (raw) => accepts({ targets: ["local"], ...raw })),
            { numRuns: 1000 },
        );
    });
});

describe("a stack's configuration", () => {
    const before = { ...pulumi.runtime.allConfig() };
    afterEach(() => pulumi.runtime.setAllConfig(before));

    it("comes from Pulumi, with maps and lists as JSON and the rest as plain text", () => {
        pulumi.runtime.setAllConfig({
            "gateway:targets": '["local"]',
            "gateway:pool": '{"size":4}',
            "gateway:consulObjects": "false",
            "pulumi:disable-default-providers": '["aws"]',
            "aws:region": "us-east-1",
        });
        assert.deepEqual(loadConfig(), { ...DEFAULTS, poolSize: 4, consulObjects: false });
    });

    it("is refused with all its problems, including unknown keys, namespaces and secrets", () => {
        pulumi.runtime.setAllConfig(
            {
                "gateway:targets": "lokal",
                "gateway:poool": "{size: 3}",
                "gateways:pool": "{}",
                "gateway:service": "{}",
            },
            ["gateway:service"],
        );
        assert.throws(loadConfig, (error) => {
            assert(error instanceof ConfigError);
            assert.deepEqual(
                error.problems.map(({ key, message }) => `${key}: ${message}`),
                [
                    'gateway:targets[0]: got "lokal"; allowed: local, aws or openstack',
                    "gateway:service: holds a secret value, which would be stored in plain text on the machines; allowed: no secrets",
                    "gateway:poool: no such key; did you mean gateway:pool?",
                    "gateways:pool: no such namespace; did you mean gateway:pool?",
                ],
            );
            return true;
        });
    });
});

describe("Pulumi.yaml and the stack files", () => {
    const project = parse(readFileSync("Pulumi.yaml", "utf8"));

    it("have the program's keys", () => {
        assert.equal(project.name, "gateway");
        assert.deepEqual(Object.keys(project.config), [...CONFIG_KEYS]);
    });

    it("describe every key, and leave the checks of values to the program", () => {
        for (const [name, entry] of Object.entries<Record<string, unknown>>(project.config)) {
            assert.match(String(entry.description), /\w/, name);
            assert(entry.default !== undefined, `without a default the CLI itself would complain about ${name}`);
            assert.equal(entry.type, undefined, `with a type the CLI itself would complain about ${name}`);
        }
    });

    it("have the program's defaults", () => {
        const raw = Object.fromEntries(
            Object.entries<{ default: unknown }>(project.config).map(([name, entry]) => [name, entry.default]),
        );
        assert.deepEqual(parseConfig({ ...raw, targets: ["local"] }), { config: DEFAULTS, warnings: [] });
        assert.deepEqual(raw.targets, []);
    });

    it("give a valid configuration for a laptop", () => {
        const { config } = parse(readFileSync("Pulumi.local.yaml", "utf8"));
        const ours = Object.entries(config).filter(([key]) => key.startsWith("gateway:"));
        const raw = Object.fromEntries(ours.map(([key, value]) => [key.slice("gateway:".length), value]));
        assert.deepEqual(parseConfig(raw), { config: DEFAULTS, warnings: [] });
        assert.deepEqual(config["pulumi:disable-default-providers"], ["*"]);
    });
});
