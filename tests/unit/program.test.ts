import * as assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import type { GatewayPool } from "../../components/gatewayPool";
import type { LoadBalancer } from "../../components/loadBalancer";
import { instanceType, LocalInstance } from "../../components/local/instance";
import { LocalTarget } from "../../components/local/target";
import { filesFromSources } from "../../components/programFiles";
import type { ServiceDiscovery } from "../../components/serviceDiscovery";
import { ConfigError, parseConfig } from "../../config";
import { secretRef } from "../../programs/machine";
import type { ProcessMachine } from "../../programs/supervisor/description";
import { processLayout, renderProcess } from "../../roles/render/process";
import { assertGolden } from "../golden/compare";
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

const project = join(__dirname, "../..");
/** The stack that a newcomer deploys. */
const localStack = (parse(readFileSync(join(project, "Pulumi.local.yaml"), "utf8")) as { config: object })
    .config as Record<string, unknown>;

/** Runs the whole program; `require`d as the engine does, not imported: it is a CommonJS export. */
const program = (config: Record<string, unknown> = {}, options: RunOptions = {}) =>
    run(require("../../index") as () => Promise<Record<string, Record<string, unknown>>>, {
        config: { ...localStack, ...config },
        ...options,
    });

const byName = (resources: readonly Registration[]) =>
    [...resources].sort((a, b) => (`${a.name} ${a.type}` < `${b.name} ${b.type}` ? -1 : 1));
const ofType = (resources: readonly Registration[], type: string) =>
    byName(resources.filter((resource) => resource.type === type));
const named = (resources: readonly Registration[], name: string) => {
    const found = resources.find((resource) => resource.name === name);
    assert.ok(found, `no resource ${name}`);
    return found;
};
const machineOf = (resource: Registration) => resource.inputs.machine as ProcessMachine;
/** All but the provider's serialised code, which is the SDK's text. */
const inputsOf = ({ inputs: { __provider, ...inputs } }: Registration) => inputs;
const summary = (resources: readonly Registration[]) =>
    byName(resources).map(({ type, name, parent }) => [type, name, parent]);

const DISCOVERY = "gateway:index:ServiceDiscovery";
const BALANCER = "gateway:index:LoadBalancer";
const POOL = "gateway:index:GatewayPool";
const LOCAL = [
    [BALANCER, "local-balancer", undefined],
    [instanceType, "local-balancer-0", "local-balancer"],
    [instanceType, "local-balancer-1", "local-balancer"],
    [DISCOVERY, "local-discovery", undefined],
    [instanceType, "local-discovery-0", "local-discovery"],
    [instanceType, "local-discovery-1", "local-discovery"],
    [instanceType, "local-discovery-2", "local-discovery"],
    [credentialsType, "local-discovery-credentials", "local-discovery"],
    [POOL, "local-pool", undefined],
    [instanceType, "local-pool-0", "local-pool"],
    [instanceType, "local-pool-1", "local-pool"],
    [instanceType, "local-pool-replacer", "local-pool"],
    ["pulumi:providers:pulumi-nodejs", "local-provider", "local"],
    ["gateway:local:Target", "local", undefined],
];
const CONSUL = [
    ["gateway:index:ConsulObjects", "local-consul", undefined],
    ["consul:index/keyPrefix:KeyPrefix", "local-consul-deployment", "local-consul"],
    ["consul:index/preparedQuery:PreparedQuery", "local-consul-gateways", "local-consul"],
    ["consul:index/aclPolicy:AclPolicy", "local-consul-operator", "local-consul"],
    ["consul:index/aclTokenPolicyAttachment:AclTokenPolicyAttachment", "local-consul-operator", "local-consul"],
    ["pulumi:providers:consul", "local-consul-provider", "local-consul"],
];
const sorted = (list: readonly (readonly (string | undefined)[])[]) =>
    [...list].sort((a, b) => (`${a[1]} ${a[0]}` < `${b[1]} ${b[0]}` ? -1 : 1));

/** What each resource waits for, besides what the credentials make. */
const ORDER = {
    "local-discovery-0": [],
    "local-discovery-1": ["local-discovery-0"],
    "local-discovery-2": ["local-discovery-1"],
    "local-balancer-0": ["local-discovery-0", "local-discovery-1", "local-discovery-2"],
    "local-balancer-1": ["local-balancer-0"],
    "local-pool-0": [
        "local-balancer-0",
        "local-balancer-1",
        "local-discovery-0",
        "local-discovery-1",
        "local-discovery-2",
    ],
    "local-pool-1": ["local-pool-0"],
    "local-pool-replacer": ["local-pool-0", "local-pool-1"],
} as const;

describe("the whole program", function () {
    this.timeout(30_000);
    let restoreHome: () => void;
    before(() => {
        restoreHome = useTemporaryHome();
    });
    after(() => restoreHome());

    it("registers exactly the resources of the local stack", async () => {
        const { resources } = await program();
        assert.deepEqual(summary(resources), sorted([...LOCAL, ...CONSUL]));
    });

    it("gives each resource the inputs of the golden file", async () => {
        const { resources } = await program();
        const inputs = byName(resources).map((resource) => ({
            type: resource.type,
            name: resource.name,
            inputs: inputsOf(resource),
            secretInputs: resource.secretInputs,
        }));
        assertGolden("program/local.json", goldenJson(inputs));
    });

    it("makes machines one after the other, each after those that it needs", async () => {
        const { resources } = await program();
        for (const [name, after] of Object.entries(ORDER)) {
            assert.deepEqual(
                named(resources, name).dependencies,
                [...after, "local-discovery-credentials"].sort(),
                name,
            );
        }
        // The provider is not configured against a Consul that is not up.
        const { dependencies } = named(resources, "local-consul-provider");
        for (const index of [0, 1, 2]) assert.ok(dependencies.includes(`local-discovery-${index}`));
    });

    it("gives each machine the secrets that it names, no others, and marks them", async () => {
        const { resources } = await program();
        const machines = ofType(resources, instanceType);
        assert.equal(machines.length, 8);
        for (const machine of machines) {
            const names = machineOf(machine).secrets;
            assert.ok(names.length > 0, machine.name);
            assert.deepEqual(
                machine.inputs.secrets,
                Object.fromEntries(names.map((name) => [name, allMockSecrets[name]])),
                machine.name,
            );
            assert.deepEqual(machine.secretInputs, ["secrets"], machine.name);
            assert.deepEqual(machine.additionalSecretOutputs, ["secrets"], machine.name);
            assert.equal(machine.deleteBeforeReplace, true, machine.name);
        }
        assert.deepEqual(ofType(resources, credentialsType)[0]?.additionalSecretOutputs, ["secrets"]);
    });

    it("has no secret in any input that is not marked", async () => {
        const { resources } = await program();
        for (const { name, inputs, secretInputs } of resources) {
            for (const [key, value] of Object.entries(inputs)) {
                if (secretInputs.includes(key)) continue;
                const text = JSON.stringify(value) ?? "";
                for (const secret of Object.values(allMockSecrets)) {
                    assert.ok(!text.includes(secret), `${name}.${key} holds ${secret}`);
                }
            }
        }
    });

    it("keeps the authority's and the management keys off the gateways and balancers", async () => {
        const { resources } = await program();
        for (const name of ["local-pool-0", "local-balancer-0", "local-pool-replacer"]) {
            const { secrets } = machineOf(named(resources, name));
            for (const secret of ["caKey", "serverKey", "managementToken", "serverAgentToken"])
                assert.ok(!secrets.includes(secret), `${name} names ${secret}`);
        }
    });

    it("replaces gateways, and updates what holds state in place", async () => {
        const { resources } = await program();
        const onChange = Object.fromEntries(
            ofType(resources, instanceType).map(({ name, inputs }) => [name, inputs.onChange]),
        );
        assert.deepEqual(onChange, {
            "local-balancer-0": "update",
            "local-balancer-1": "update",
            "local-discovery-0": "update",
            "local-discovery-1": "update",
            "local-discovery-2": "update",
            "local-pool-0": "replace",
            "local-pool-1": "replace",
            "local-pool-replacer": "update",
        });
    });

    it("returns addresses, and the operators' token as a secret output of its own", async () => {
        const { result } = await program();
        assert.deepEqual(result, {
            local: {
                endpoints: ["127.90.0.21:9190", "127.90.0.22:9190"],
                gateways: ["127.90.0.50:9190", "127.90.0.51:9190"],
                balancerStatus: ["http://127.90.0.21:9192", "http://127.90.0.22:9192"],
                consulUi: "http://127.90.0.11:8500/ui",
            },
            localOperatorToken: "value of operatorToken",
        });
        const { result: secret } = await run(
            async () => {
                const outputs = await (require("../../index") as () => Promise<Record<string, unknown>>)();
                return { secret: await pulumi.isSecret(outputs.localOperatorToken as pulumi.Output<string>) };
            },
            { config: localStack },
        );
        assert.deepEqual(secret, { secret: true });
    });

    it("previews the same resources in the same order when nothing exists yet", async () => {
        const { resources } = await program({}, { preview: "new" });
        assert.deepEqual(summary(resources), sorted([...LOCAL, ...CONSUL]));
        for (const [name, after] of Object.entries(ORDER)) {
            assert.deepEqual(
                named(resources, name).dependencies,
                [...after, "local-discovery-credentials"].sort(),
                name,
            );
        }
        const gateway = named(resources, "local-pool-0");
        // Known only once there are certificates.
        assert.equal(gateway.inputs.machine, UNKNOWN);
        assert.equal(gateway.inputs.secrets, UNKNOWN);
        assert.equal(gateway.inputs.onChange, "replace");
        // Or the provider would look for a Consul that is not up.
        assert.equal(named(resources, "local-consul-provider").inputs.address, UNKNOWN);
    });

    it("previews the very inputs of the deployment when it exists", async () => {
        const deployed = await program();
        const previewed = await program({}, { preview: "unchanged" });
        assert.deepEqual(byName(previewed.resources).map(inputsOf), byName(deployed.resources).map(inputsOf));
        assert.deepEqual(previewed.result, deployed.result);
    });

    it("changes exactly the gateways when the gateway's environment changes", async () => {
        const before = await program();
        const after = await program({ "gateway:service": { environment: { GREETING: "hello" } } });
        const changed = byName(after.resources)
            .filter((resource) => {
                const earlier = before.resources.find(
                    ({ name, type }) => name === resource.name && type === resource.type,
                );
                return !earlier || JSON.stringify(inputsOf(earlier)) !== JSON.stringify(inputsOf(resource));
            })
            .map(({ name }) => name);
        assert.deepEqual(changed, ["local-pool-0", "local-pool-1"]);
    });

    it("has as many gateways as the pool is large, and leaves the others alone when it grows", async () => {
        const two = await program();
        const three = await program({ "gateway:pool": { size: 3 } });
        const added = summary(three.resources).filter(
            ([, name]) => !two.resources.some((resource) => resource.name === name),
        );
        assert.deepEqual(added, [[instanceType, "local-pool-2", "local-pool"]]);
        assert.deepEqual(
            named(three.resources, "local-pool-2").dependencies,
            ["local-discovery-credentials", "local-pool-1"].sort(),
        );
        for (const name of ["local-pool-0", "local-pool-1", "local-balancer-0", "local-discovery-0"])
            assert.deepEqual(inputsOf(named(three.resources, name)), inputsOf(named(two.resources, name)), name);
        assert.deepEqual(three.result.local?.gateways, ["127.90.0.50:9190", "127.90.0.51:9190", "127.90.0.52:9190"]);
    });

    describe("with stack fabio", () => {
        const config = { "gateway:loadBalancer": { stack: "fabio" } };

        it("changes exactly the balancers, how quickly gateways are given up, and where the loop looks", async () => {
            const [before, after] = [await program(), await program(config)];
            assert.deepEqual(summary(after.resources), summary(before.resources));
            const changed = byName(after.resources).filter(({ name, type, inputs }) => {
                const earlier = before.resources.find((each) => each.name === name && each.type === type);
                return JSON.stringify(inputs) !== JSON.stringify(earlier?.inputs);
            });
            assert.deepEqual(
                changed.map(({ name }) => name),
                ["local-balancer-0", "local-balancer-1", "local-pool-0", "local-pool-1", "local-pool-replacer"],
            );
            assertGolden(
                "program/local-fabio.json",
                goldenJson(changed.map(({ name, inputs: { __provider, ...inputs } }) => ({ name, inputs }))),
            );
        });

        it("has Fabio's token on the balancers only", async () => {
            const { resources } = await program(config);
            const holders = ofType(resources, instanceType).filter((each) =>
                machineOf(each).secrets.includes("fabioToken"),
            );
            assert.deepEqual(
                holders.map(({ name }) => name),
                ["local-balancer-0", "local-balancer-1", "local-discovery-0", "local-discovery-1", "local-discovery-2"],
            );
        });
    });

    describe("with stack serf-haproxy", () => {
        const config = { "gateway:loadBalancer": { stack: "serf-haproxy" } };

        it("has no Consul: neither servers nor agents, nor what would be made in it", async () => {
            const { resources, result } = await program(config);
            assert.deepEqual(
                summary(resources),
                sorted(LOCAL.filter(([type, name]) => type !== instanceType || !name?.startsWith("local-discovery-"))),
            );
            for (const machine of ofType(resources, instanceType)) {
                const { services, binaries, files, secrets } = machineOf(machine);
                assert.ok(!services.some(({ name }) => name.startsWith("consul")), machine.name);
                assert.ok(!binaries.some(({ name }) => name.startsWith("consul")), machine.name);
                assert.doesNotMatch(JSON.stringify(files), /"consul":/, machine.name);
                assert.deepEqual(
                    secrets,
                    machine.name === "local-pool-replacer" ? [] : ["gossipKey", "serfRpcKey"],
                    machine.name,
                );
            }
            assert.deepEqual(result, {
                local: {
                    endpoints: ["127.90.0.21:9190", "127.90.0.22:9190"],
                    gateways: ["127.90.0.50:9190", "127.90.0.51:9190"],
                    balancerStatus: ["http://127.90.0.21:9192", "http://127.90.0.22:9192"],
                },
            });
        });

        it("gives each resource the inputs of the golden file", async () => {
            const { resources } = await program(config);
            const inputs = byName(resources).map((each) => ({ name: each.name, inputs: inputsOf(each) }));
            assertGolden("program/local-serf.json", goldenJson(inputs));
        });

        it("makes machines one after the other, each after those that it needs", async () => {
            const { resources } = await program(config);
            const needs = (name: string) => named(resources, name).dependencies;
            assert.deepEqual(needs("local-balancer-1"), ["local-balancer-0", "local-discovery-credentials"]);
            assert.ok(["local-balancer-0", "local-balancer-1"].every((name) => needs("local-pool-0").includes(name)));
            assert.deepEqual(needs("local-pool-1"), ["local-discovery-credentials", "local-pool-0"]);
        });

        it("previews when nothing exists yet", async () => {
            const { resources } = await program(config, { preview: "new" });
            assert.equal(named(resources, "local-pool-0").inputs.secrets, UNKNOWN);
        });
    });

    it("has no replacement loop when that is switched off", async () => {
        const { resources } = await program({ "gateway:replacement": { enabled: false } });
        assert.deepEqual(
            summary(resources),
            sorted([...LOCAL, ...CONSUL].filter(([, name]) => name !== "local-pool-replacer")),
        );
    });

    it("makes nothing inside Consul when it shall not", async () => {
        const { resources, result } = await program({ "gateway:consulObjects": "false" });
        assert.deepEqual(summary(resources), sorted(LOCAL));
        assert.ok(!("operatorToken" in (result.local ?? {})));
    });

    it("registers nothing on a bad configuration", async () => {
        let registered: readonly Registration[] = [];
        await assert.rejects(
            program(
                { "gateway:pool": { sise: 2 }, "gateway:targets": ["locl"] },
                { seen: (all) => (registered = all) },
            ),
            (error: Error) => {
                assert.ok(error instanceof ConfigError);
                assert.match(error.message, /has 2 problems; nothing was deployed/);
                return true;
            },
        );
        assert.deepEqual(registered, []);
    });

    it("writes only programs, and those below its home", async () => {
        await program();
        const home = process.env.GATEWAY_HOME as string;
        assert.deepEqual(readdirSync(home), ["bundles"]);
        const names = readdirSync(join(home, "bundles")).map((name) => name.replace(/-[0-9a-f]{16}(\.cjs)?$/, ""));
        // All that the loop may deploy later, as any stack on this computer needs it, and the loop itself.
        assert.deepEqual(names.sort(), [
            ...["boot", "consul-acl", "drain", "gateway-sample", "instance-watcher", "loop", "provider"],
            ...["reconciler", "serf-members", "supervisor"],
        ]);
    });
});

describe("the components on target local", function () {
    this.timeout(30_000);
    let restoreHome: () => void;
    before(() => {
        restoreHome = useTemporaryHome();
    });
    after(() => restoreHome());

    const { config } = parseConfig({ targets: ["local"] });

    // Required, not imported: the engine's mocks have to be there first.
    const components = () => ({
        ...(require("../../components/serviceDiscovery") as typeof import("../../components/serviceDiscovery")),
        ...(require("../../components/loadBalancer") as typeof import("../../components/loadBalancer")),
        ...(require("../../components/gatewayPool") as typeof import("../../components/gatewayPool")),
    });
    const target = () => new LocalTarget("local", { network: "127.77.3.0/24", files: filesFromSources(project) });
    const discoveryOf = (servers: number): ServiceDiscovery =>
        new (components().ServiceDiscovery)("d", {
            target: target(),
            balancers: 2,
            servers,
            datacenter: "dc7",
            gatewayService: "calls",
        });
    const balancersOf = (discovery: ServiceDiscovery, balancers: number): LoadBalancer =>
        new (components().LoadBalancer)("b", {
            target: discovery.target,
            discovery,
            stack: "consul-template-haproxy",
            balancers,
            port: 7000,
            slots: 20,
            drainSeconds: 9,
            service: config.service,
        });
    const poolOf = (discovery: ServiceDiscovery, balancers: LoadBalancer, service = config.service): GatewayPool =>
        new (components().GatewayPool)("p", {
            target: discovery.target,
            size: 1,
            service,
            discovery,
            balancers,
            replacement: undefined,
        });

    it("GatewayPool: waits for a slow gateway for as long as it may boot, and for the usual time otherwise", async () => {
        for (const [bootGraceSeconds, expected] of [
            [undefined, undefined],
            [30, undefined],
            [120, 120],
        ] as const) {
            const { resources } = await run(() => {
                const discovery = discoveryOf(1);
                const balancers = balancersOf(discovery, 1);
                const replacement = bootGraceSeconds === undefined ? {} : { bootGraceSeconds };
                const { target } = discovery;
                new (components().GatewayPool)("p", {
                    ...{ target, size: 1, service: config.service, discovery, balancers, replacement },
                });
                return {};
            });
            const gates = inputsOf(named(resources, "p-0")).gates as { create: { timeoutSeconds?: number }[] };
            assert.deepEqual(
                gates.create.map(({ timeoutSeconds }) => timeoutSeconds),
                [expected, expected],
            );
        }
    });

    it("ServiceDiscovery: says where Consul is, and what an agent has to know", async () => {
        const { result, resources } = await run(() => {
            const { consul, secrets } = discoveryOf(3);
            return { ...consul, secrets, secret: pulumi.output(pulumi.isSecret(secrets)) };
        });
        assert.deepEqual(result.api, ["127.77.3.11:8501", "127.77.3.12:8501", "127.77.3.13:8501"]);
        assert.equal(result.ui, "http://127.77.3.11:8500/ui");
        assert.deepEqual(
            { ...result.cluster, version: "" },
            {
                datacenter: "dc7",
                join: ["127.77.3.11", "127.77.3.12", "127.77.3.13"],
                servers: 3,
                caCertificate: "CA certificate\n",
                version: "",
            },
        );
        assert.deepEqual(result.secrets, allMockSecrets);
        assert.equal(result.secret, true);
        assert.deepEqual(inputsOf(named(resources, "d-credentials")), {
            datacenter: "dc7",
            gatewayService: "calls",
            servers: ["127.77.3.11", "127.77.3.12", "127.77.3.13"],
        });
    });

    it("ServiceDiscovery: only the last server waits for the quorum at first, each does at an update", async () => {
        const servers = ["127.77.3.11:8500", "127.77.3.12:8500", "127.77.3.13:8500"];
        const { resources } = await run(() => void discoveryOf(3));
        const quorum = { kind: "quorum", servers };
        const early = [{ kind: "services", except: ["consul-acl"] }];
        const update = [{ kind: "services" }, quorum];
        assert.deepEqual(
            ofType(resources, instanceType).map(({ inputs }) => inputs.gates),
            [
                { create: early, update },
                { create: early, update },
                { create: [quorum, { kind: "services" }], update },
            ],
        );
    });

    it("ServiceDiscovery: a single server waits for itself", async () => {
        const { resources } = await run(() => void discoveryOf(1));
        const [only, ...others] = ofType(resources, instanceType);
        assert.equal(others.length, 0);
        assert.deepEqual((only!.inputs.gates as { create: unknown }).create, [
            { kind: "quorum", servers: ["127.77.3.11:8500"] },
            { kind: "services" },
        ]);
    });

    it("LocalInstance: marks its secrets, even those that were not marked before, and takes only its own", async () => {
        const machine = renderProcess(
            {
                name: "r",
                files: [{ path: "etc/token", content: secretRef("token") }],
                services: [],
                binaries: [],
                users: [],
                ports: [],
                healthChecks: [],
            },
            processLayout("m-0", "127.77.3.9"),
        );
        const { resources } = await run(() => {
            const secrets = { token: "1", other: "2" };
            const gates = { create: [], update: [] };
            new LocalInstance("m", { machine, secrets, onChange: "update", gates }, { parent: target() });
        });
        const { inputs, secretInputs } = named(resources, "m");
        assert.deepEqual(inputs.secrets, { token: "1" });
        assert.deepEqual(secretInputs, ["secrets"]);
    });

    it("LoadBalancer: as many machines as asked for, with an address each", async () => {
        const { resources, result } = await run(() => {
            const { endpoints, statusPages } = balancersOf(discoveryOf(1), 3);
            return { endpoints, statusPages };
        });
        assert.deepEqual(result.endpoints, ["127.77.3.21:7000", "127.77.3.22:7000", "127.77.3.23:7000"]);
        assert.deepEqual(result.statusPages, [
            "http://127.77.3.21:9192",
            "http://127.77.3.22:9192",
            "http://127.77.3.23:9192",
        ]);
        const names = [0, 1, 2].map((index) => machineOf(named(resources, `b-${index}`)).name);
        assert.deepEqual(names, ["lb-0", "lb-1", "lb-2"]);
    });

    it("GatewayPool: a gateway counts as deployed once the balancers send it calls", async () => {
        const { resources, result } = await run(() => {
            const discovery = discoveryOf(1);
            return { endpoints: poolOf(discovery, balancersOf(discovery, 2)).endpoints };
        });
        assert.deepEqual(result.endpoints, ["127.77.3.50:9190"]);
        assert.deepEqual(named(resources, "p-0").inputs.gates, {
            create: [
                { kind: "services" },
                {
                    kind: "rotation",
                    balancers: ["http://127.77.3.21:9192", "http://127.77.3.22:9192"],
                    address: "127.77.3.50",
                },
            ],
            update: [],
        });
        assert.ok(!resources.some(({ name }) => name === "p-replacer"));
    });

    it("GatewayPool: runs an operator's own server from an archive, with its address and port", async () => {
        const sha256 = "ab".repeat(32);
        const service = {
            ...config.service,
            name: "calls",
            install: { kind: "archive", url: "https://example.org/calls.tar.gz", sha256, format: "tar.gz" },
            argv: ["bin/serve", "--listen={address}:{port}"],
        } as const;
        const { resources } = await run(() => {
            const discovery = discoveryOf(1);
            poolOf(discovery, balancersOf(discovery, 1), service);
        });
        const machine = machineOf(named(resources, "p-0"));
        const gateway = machine.services.find(({ name }) => name === "gateway");
        assert.deepEqual(gateway?.argv, ["bin/calls/bin/serve", "--listen=127.77.3.50:9190"]);
        assert.deepEqual(
            machine.binaries.find(({ name }) => name === "calls"),
            { name: "calls", source: { kind: "archive", url: "https://example.org/calls.tar.gz", sha256 } },
        );
    });
});
