import * as assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { loopPorts } from "../../components/openstack/loopAccess";
import { filesFromSources } from "../../components/programFiles";
import { ConfigError } from "../../config";
import { secretRefs } from "../../programs/machine";
import {
    type DeployedInputs,
    deployedInputsOutput,
    deployedInputsSchema,
} from "../../programs/replacer/deployedInputs";
import { withEpoch } from "../../replacement/serverMetadata";
import { assertGolden } from "../golden/compare";
import { decodeUserData } from "./support/awsStack";
import {
    allMockSecrets,
    goldenJson,
    type Registration,
    type RunOptions,
    run,
    UNKNOWN,
    useTemporaryHome,
} from "./support/mocks";
import { FLOATING_IP, GIVEN } from "./support/openstackMocks";
import { cloudConfig, hybridStack, jetstreamStack, loopSecrets, SECRETS_KEY } from "./support/openstackStack";

type Changes = Parameters<typeof cloudConfig>[0];

/** Runs the whole program on a committed stack, with changes. */
const program = (changes: Changes = {}, options: RunOptions = {}, stack = jetstreamStack) =>
    run(require("../../index") as () => Promise<Record<string, Record<string, unknown>>>, {
        config: cloudConfig(changes, stack),
        secretKeys: [SECRETS_KEY],
        ...options,
    });

let committed: ReturnType<typeof program> | undefined;
/** One run of the stack as it is committed, for all tests that only look at it. */
const deployment = () => {
    committed ??= program();
    return committed;
};

const openstack = (changes: Record<string, unknown>): Changes => ({ "gateway:openstack": changes });
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

const SERVER = "openstack:compute/instance:Instance";
const GATE = "pulumi-nodejs:dynamic/gateway:OpenstackGate";
const PORT = "openstack:networking/port:Port";
const GROUP = "openstack:networking/secGroup:SecGroup";
const RULE = "openstack:networking/secGroupRule:SecGroupRule";
const SERVER_GROUP = "openstack:compute/serverGroup:ServerGroup";

/** The machines in the order in which they are made. */
const MACHINES = ["discovery-0", "discovery-1", "discovery-2", "balancer-0", "balancer-1", "pool-0", "pool-1"].map(
    (name) => `openstack-${name}`,
);

/** Inputs as they stand in the golden file: of user data, what it is about; its exact text has golden files of its own. */
function goldenInputs(resource: Registration): Record<string, unknown> {
    return Object.fromEntries(
        Object.entries(inputsOf(resource)).map(([input, value]) => {
            if (input !== "userData") return [input, value];
            const { name, role, identity, secrets, units } = decodeUserData(value).machine;
            return [input, { name, role, identity, secrets, units: units.map((unit) => unit.name) }];
        }),
    );
}

/** The setting of a list of artifacts that is not there. */
function noFile(config: Readonly<Record<string, string>>): string {
    return JSON.stringify({ ...JSON.parse(config["gateway:image"] ?? "{}"), manifest: "nowhere/artifacts.json" });
}

/** Names of the resources whose inputs, or reasons to be replaced, differ between two runs. */
function changed(before: readonly Registration[], after: readonly Registration[]): string[] {
    const text = (each: Registration) => JSON.stringify([inputsOf(each), each.replacementTrigger]);
    return byName(after)
        .filter((each) => text(named(before, each.name, each.type)) !== text(each))
        .map(({ name }) => name);
}

describe("the whole program on OpenStack", function () {
    this.timeout(120_000);
    let restoreHome: () => void;
    before(() => {
        restoreHome = useTemporaryHome();
    });
    after(() => restoreHome());

    it("gives each resource the inputs, the parents and the provider of the golden file", async () => {
        const { resources } = await deployment();
        const all = byName(resources).map((resource) => ({
            urn: `${resource.typeChain}::${resource.name}`,
            provider: resource.provider,
            inputs: goldenInputs(resource),
            secretInputs: resource.secretInputs,
        }));
        assertGolden("program/jetstream.json", goldenJson(all));
    });

    it("makes a gateway as a server in a slot: its port first, with a fixed address", async () => {
        const { resources } = await deployment();
        const server = named(resources, "openstack-pool-1", SERVER);
        assert.equal(server.typeChain, `gateway:index:GatewayPool$${SERVER}`);
        const { userData, ...inputs } = inputsOf(server);
        assert.deepEqual(inputs, {
            name: "gateway-test-gw-1",
            flavorName: "m3.tiny",
            imageId: "00000000-0000-4000-8000-000000000000",
            networks: [{ port: "openstack-pool-1-port-id" }],
            schedulerHints: [{ group: "openstack-pool-servers-id" }],
            metadata: { "gateway-deployment": "test", "gateway-slot": "gw-1", "gateway-epoch": "0" },
            stopBeforeDestroy: true,
            forceDelete: true,
        });
        assert.equal(decodeUserData(userData).machine.name, "gw-1");
        assert.deepEqual(inputsOf(named(resources, "openstack-pool-1-port", PORT)), {
            name: "gateway-test-gw-1",
            networkId: "openstack-network-net-id",
            adminStateUp: true,
            fixedIps: [{ subnetId: "openstack-network-subnet-id", ipAddress: "10.30.0.51" }],
            securityGroupIds: ["openstack-network-members-id", "openstack-pool-group-id"],
            tags: ["project=gateway", "gateway-deployment=test"],
        });
    });

    it("makes and replaces one machine after the other, each once the last one says that it is ready", async () => {
        const { resources } = await deployment();
        for (const [index, name] of MACHINES.entries()) {
            const server = named(resources, name, SERVER);
            assert.equal(server.deleteBeforeReplace, true, name);
            const before = MACHINES[index - 1];
            assert.ok(before === undefined || server.dependencies.includes(`${before}-ready`), name);
            const gate = named(resources, `${name}-ready`, GATE);
            assert.equal(gate.inputs.serverId, `${name}-id`);
            assert.deepEqual(gate.secretInputs, ["secrets"]);
            // The value of one machine in the inputs of the next would take that one down with it.
            for (const other of MACHINES.filter((each) => each !== name)) {
                for (const each of [server, gate]) {
                    assert.ok(!JSON.stringify(inputsOf(each)).includes(`${other}-id`), `${name}: ${other}`);
                }
            }
        }
    });

    it("replaces a machine when its image, its flavour, its user data or a secret of it changes, and no other", async () => {
        const { resources: before } = await deployment();
        const gateways = ["openstack-pool-0", "openstack-pool-1"];
        const balancers = ["openstack-balancer-0", "openstack-balancer-1"];
        const discovery = ["openstack-discovery-0", "openstack-discovery-1", "openstack-discovery-2"];
        const image = await program(openstack({ imageId: "00000000-0000-4000-8000-000000000009" }));
        assert.deepEqual(changed(before, image.resources), [...balancers, ...discovery, ...gateways]);
        const flavor = await program(openstack({ fixedFlavor: "m3.tiny", flavor: "m3.small" }));
        assert.deepEqual(changed(before, flavor.resources), gateways);
        const environment = await program({ "gateway:service": { environment: { GREETING: "hello" } } });
        assert.deepEqual(changed(before, environment.resources), gateways);
        for (const name of gateways) {
            const trigger = (all: readonly Registration[]) => named(all, name, SERVER).replacementTrigger;
            assert.match(String(trigger(before)), /^[0-9a-f]{64}$/);
            for (const { resources } of [image, flavor, environment])
                assert.notEqual(trigger(resources), trigger(before), name);
        }
    });

    it("stamps the server of a slot that the loop replaces, and leaves the stamps of others alone", async () => {
        const { resources } = await withEpoch({ slot: "gw-1", epoch: 7 }, () => program());
        const metadata = (name: string) => named(resources, name, SERVER).inputs.metadata as Record<string, string>;
        assert.equal(metadata("openstack-pool-1")["gateway-epoch"], "7");
        assert.deepEqual(named(resources, "openstack-pool-1", SERVER).ignoreChanges, []);
        assert.deepEqual(named(resources, "openstack-pool-0", SERVER).ignoreChanges, ['metadata["gateway-epoch"]']);
    });

    it("marks no machine as a slot that the loop must not replace", async () => {
        const { resources } = await deployment();
        for (const { name, inputs } of ofType(resources, SERVER)) {
            const metadata = inputs.metadata as Record<string, string>;
            assert.equal(metadata["gateway-deployment"], "test", name);
            assert.equal(metadata["gateway-slot"] !== undefined, name.startsWith("openstack-pool-"), name);
        }
    });

    it("puts the machines of a kind on different hosts, as the policy says", async () => {
        const { resources } = await deployment();
        const groups = ofType(resources, SERVER_GROUP);
        assert.deepEqual(
            groups.map(({ name, inputs }) => [name, inputs.policies]),
            ["balancer", "discovery", "pool"].map((kind) => [`openstack-${kind}-servers`, ["soft-anti-affinity"]]),
        );
        const strict = await program(openstack({ serverGroupPolicy: "anti-affinity" }));
        assert.deepEqual(named(strict.resources, "openstack-pool-servers", SERVER_GROUP).inputs.policies, [
            "anti-affinity",
        ]);
    });

    it("tells each machine what has to hold before it is ready", async () => {
        const { resources } = await deployment();
        const gates = (name: string) => named(resources, `${name}-ready`, GATE).inputs.gates;
        assert.deepEqual(gates("openstack-discovery-0"), [
            {
                kind: "server",
                except: ["consul-acl"],
                others: ["https://10.30.0.12:8501", "https://10.30.0.13:8501"],
                caFile: "/etc/gateway/consul/ca.pem",
            },
        ]);
        assert.deepEqual(gates("openstack-discovery-2"), [{ kind: "services" }]);
        assert.deepEqual(gates("openstack-balancer-1"), [
            { kind: "services" },
            { kind: "serving", balancer: "http://10.30.0.22:9192", others: ["http://10.30.0.21:9192"] },
        ]);
        assert.deepEqual(gates("openstack-pool-0"), [
            { kind: "services" },
            {
                kind: "rotation",
                balancers: ["http://10.30.0.21:9192", "http://10.30.0.22:9192"],
                address: "10.30.0.50",
            },
        ]);
        assert.equal(named(resources, "openstack-pool-0-ready", GATE).inputs.timeoutSeconds, 600);
    });

    it("gives machines exactly the secrets that their user data names", async () => {
        const { resources } = await deployment();
        const all: Record<string, string> = { ...allMockSecrets, ...loopSecrets };
        for (const name of MACHINES) {
            const { text, machine } = decodeUserData(named(resources, name, SERVER).inputs.userData);
            assert.deepEqual(machine.secrets, { kind: "delivered" });
            const names = [...new Set(secretRefs(text))].sort();
            assert.ok(names.includes("gossipKey"), name);
            assert.deepEqual(
                named(resources, `${name}-ready`, GATE).inputs.secrets,
                Object.fromEntries(names.map((secret) => [secret, all[secret]])),
                name,
            );
        }
    });

    it("has no secret in any input that is not marked, in user data or in outputs", async () => {
        const { resources, result } = await deployment();
        const secrets = Object.values({ ...allMockSecrets, ...loopSecrets });
        const texts = [
            ...resources.map((each) => {
                const open = Object.entries(inputsOf(each)).filter(([input]) => !each.secretInputs.includes(input));
                return [each.name, JSON.stringify([open, each.replacementTrigger])] as const;
            }),
            ...ofType(resources, SERVER).map(
                ({ name, inputs }) => [name, decodeUserData(inputs.userData).text] as const,
            ),
            ["outputs", JSON.stringify({ ...result, [deployedInputsOutput]: undefined })] as const,
        ];
        // Holds the configuration, with its secrets, and is one itself.
        assert.equal(await pulumi.isSecret(filesFromSources(".").deployedInputs()), true);
        for (const [name, text] of texts) {
            for (const secret of secrets) assert.ok(!text.includes(secret), `${name} holds ${secret}`);
        }
    });

    it("lets in nobody but groups of its own, and the clients of the configuration on their port", async () => {
        const { resources } = await deployment();
        const rules = ofType(resources, RULE).map(({ inputs }) => inputs);
        const incoming = rules.filter(({ direction }) => direction === "ingress");
        assert.deepEqual(
            incoming.filter((rule) => rule.remoteGroupId === undefined),
            [
                {
                    securityGroupId: "openstack-balancer-group-id",
                    direction: "ingress",
                    ethertype: "IPv4",
                    protocol: "tcp",
                    portRangeMin: 9190,
                    portRangeMax: 9190,
                    description: "balancer",
                    remoteIpPrefix: "203.0.113.0/24",
                },
            ],
        );
        const open = incoming
            .filter((rule) => rule.remoteGroupId !== undefined)
            .map((rule) =>
                [rule.securityGroupId, rule.protocol, rule.portRangeMin ?? "any", rule.remoteGroupId]
                    .join(" ")
                    .replaceAll("openstack-", "")
                    .replaceAll("-group-id", "")
                    .replaceAll("network-members-id", "members"),
            );
        assert.deepEqual(open.sort(), [
            "balancer tcp 8301 members",
            "balancer tcp 9192 members",
            "balancer udp 8301 members",
            "balancer vrrp any balancer",
            "discovery tcp 8300 members",
            "discovery tcp 8301 members",
            "discovery tcp 8501 members",
            "discovery udp 8301 members",
            "pool tcp 8301 members",
            "pool tcp 9190 members",
            "pool tcp 9191 members",
            "pool udp 8301 members",
        ]);
        for (const { name, inputs } of ofType(resources, GROUP)) assert.equal(inputs.deleteDefaultRules, true, name);
    });

    it("lets machines out to each other's open ports, to what they fetch, and to names and the time", async () => {
        const { resources } = await deployment();
        const outgoing = ofType(resources, RULE)
            .map(({ inputs }) => inputs)
            .filter(({ direction }) => direction === "egress");
        const toOutside = outgoing.filter((rule) => rule.remoteGroupId === undefined);
        const outside = toOutside.filter((rule) => rule.securityGroupId !== "openstack-discovery-group-id");
        // The loop's machines also call OpenStack, and the storage of the state.
        assert.deepEqual(
            toOutside.filter((rule) => !outside.includes(rule)).map((rule) => [rule.protocol, rule.portRangeMin]),
            [443, 5000, 8001, 8774, 8776, 8778, 9292, 9696, 9876].map((port) => ["tcp", port]),
        );
        assert.deepEqual(
            outside.map((rule) => [rule.securityGroupId, rule.protocol, rule.portRangeMin, rule.remoteIpPrefix]).sort(),
            [
                ["tcp", 443],
                ["tcp", 53],
                ["tcp", 80],
                ["udp", 123],
                ["udp", 53],
            ].map(([protocol, port]) => ["openstack-network-members-id", protocol, port, "0.0.0.0/0"]),
        );
        const incoming = ofType(resources, RULE).filter(({ inputs }) => inputs.direction === "ingress");
        const toGroups = outgoing.filter((rule) => rule.remoteGroupId !== undefined);
        assert.equal(toGroups.length, incoming.filter(({ inputs }) => inputs.remoteGroupId !== undefined).length);
        const noLoop = await program({ "gateway:replacement": { enabled: "false" } });
        assert.ok(!noLoop.resources.some(({ name }) => name.startsWith("openstack-discovery-api-")));
        const artifacts = await program({ "gateway:image": { artifacts: "http://198.18.0.1:8080/x" } });
        const rule = named(artifacts.resources, "openstack-network-outside-8080-tcp-out", RULE);
        assert.equal(rule.inputs.portRangeMin, 8080);
    });

    it("finds the ports that the loop calls", () => {
        const ports = (authUrl: string, stateBackend: string) =>
            loopPorts([443], { authUrl, stateBackend, credentialId: "", allowPlainHttp: false });
        assert.deepEqual(ports("https://c.example.org/identity", "s3://b?region=us-east-1"), [443]);
        assert.deepEqual(ports("http://c.example.org/identity", "s3://b?endpoint=o.example.org"), [80, 443]);
        assert.deepEqual(
            ports("http://c:35357/v3", "s3://b?endpoint=198.18.0.1:9000&disableSSL=true"),
            [443, 9000, 35357],
        );
        assert.deepEqual(ports("https://c", "s3://b?endpoint=http://o"), [80, 443]);
    });

    it("has an own network whose fixed addresses Neutron gives to nobody else", async () => {
        const { resources } = await deployment();
        const { inputs } = named(resources, "openstack-network-subnet", "openstack:networking/subnet:Subnet");
        assert.deepEqual(inputs.allocationPools, [{ start: "10.30.0.2", end: "10.30.0.9" }]);
        const ports = ofType(resources, PORT).map(
            (port) => (port.inputs.fixedIps as { ipAddress: string }[])[0]?.ipAddress,
        );
        assert.equal(new Set(ports).size, 8);
        const network = named(resources, "openstack-network-net", "openstack:networking/network:Network");
        assert.equal(network.inputs.portSecurityEnabled, true);
        const router = named(resources, "openstack-network-router", "openstack:networking/router:Router");
        assert.equal(router.inputs.externalNetworkId, "the id of public");
    });

    it("shares one address among the balancers, which a floating IP leads to", async () => {
        const { resources, result } = await deployment();
        for (const index of [0, 1]) {
            const port = named(resources, `openstack-balancer-${index}-port`, PORT);
            assert.deepEqual(port.inputs.allowedAddressPairs, [{ ipAddress: "10.30.0.10" }]);
            assert.equal(port.inputs.portSecurityEnabled, undefined);
        }
        const floating = named(
            resources,
            "openstack-balancer-floating-ip",
            "openstack:networking/floatingIp:FloatingIp",
        );
        assert.deepEqual([floating.inputs.pool, floating.inputs.portId], ["public", "openstack-balancer-vip-id"]);
        const { machine } = decodeUserData(named(resources, "openstack-balancer-1", SERVER).inputs.userData);
        const config = machine.files.find(({ path }) => path.endsWith("keepalived.conf"))?.content ?? "";
        assert.match(config, /unicast_src_ip 10\.30\.0\.22\n/);
        assert.match(config, /unicast_peer \{\n\s+10\.30\.0\.21\n\s+\}/);
        assert.match(config, /virtual_ipaddress \{\n\s+10\.30\.0\.10\/32\n\s+\}/);
        assert.match(config, /priority 140\n/);
        assert.deepEqual(result.openstack?.endpoints, [`${FLOATING_IP}:9190`]);
        const without = await program(openstack({ floatingIp: false }));
        assert.deepEqual(without.result.openstack?.endpoints, ["10.30.0.10:9190"]);
    });

    it("puts the cloud's load balancer in front when it shall, which lets in the same clients", async () => {
        const { resources, result } = await program(openstack({ frontend: { kind: "octavia", provider: "amphora" } }));
        const balancer = named(
            resources,
            "openstack-balancer-octavia",
            "openstack:loadbalancer/loadBalancer:LoadBalancer",
        );
        assert.deepEqual([balancer.inputs.vipAddress, balancer.inputs.loadbalancerProvider], ["10.30.0.49", "amphora"]);
        const listener = named(
            resources,
            "openstack-balancer-octavia-listener",
            "openstack:loadbalancer/listener:Listener",
        );
        assert.deepEqual(listener.inputs.allowedCidrs, ["203.0.113.0/24"]);
        const members = ofType(resources, "openstack:loadbalancer/member:Member");
        assert.deepEqual(
            members.map(({ inputs }) => [inputs.address, inputs.protocolPort, inputs.monitorPort]),
            [
                ["10.30.0.21", 9190, 9192],
                ["10.30.0.22", 9190, 9192],
            ],
        );
        const open = ofType(resources, RULE).filter(
            ({ inputs }) => inputs.direction === "ingress" && inputs.remoteIpPrefix !== undefined,
        );
        assert.deepEqual(open.map(({ inputs }) => [inputs.portRangeMin, inputs.remoteIpPrefix]).sort(), [
            [9190, "10.30.0.0/24"],
            [9192, "10.30.0.0/24"],
        ]);
        assert.equal(named(resources, "openstack-balancer-0-port", PORT).inputs.allowedAddressPairs, undefined);
        const { text } = decodeUserData(named(resources, "openstack-balancer-0", SERVER).inputs.userData);
        assert.ok(!text.includes("keepalived"));
        assert.deepEqual(result.openstack?.endpoints, [`${FLOATING_IP}:9190`]);
        const nobody = await program(openstack({ frontend: { kind: "octavia" }, clientCidrs: [] }));
        const closed = named(
            nobody.resources,
            "openstack-balancer-octavia-listener",
            "openstack:loadbalancer/listener:Listener",
        );
        assert.deepEqual(closed.inputs.allowedCidrs, ["10.30.0.0/24"]);
    });

    it("boots from a volume that goes with its machine, when it shall", async () => {
        const { resources } = await program(openstack({ bootVolume: { sizeGib: 12, type: "ssd" } }));
        for (const { name, inputs } of ofType(resources, SERVER)) {
            assert.equal(inputs.imageId, undefined, name);
            assert.deepEqual(
                inputs.blockDevices,
                [
                    {
                        uuid: "00000000-0000-4000-8000-000000000000",
                        sourceType: "image",
                        destinationType: "volume",
                        bootIndex: 0,
                        volumeSize: 12,
                        deleteOnTermination: true,
                        volumeType: "ssd",
                    },
                ],
                name,
            );
        }
    });

    it("names a provider for each resource, which is told the cloud and nothing else", async () => {
        const { resources } = await deployment();
        assert.deepEqual(inputsOf(named(resources, "openstack-provider", "pulumi:providers:openstack")), {
            cloud: "jetstream2",
        });
        for (const { name, type, provider: own } of resources) {
            if (type.startsWith("openstack:")) assert.equal(own, "openstack-provider", name);
            if (type.startsWith("pulumi-nodejs:")) assert.equal(own, "openstack-project-provider", name);
        }
        for (const stack of [jetstreamStack, hybridStack])
            assert.deepEqual(stack["pulumi:disable-default-providers"], ["*"]);
    });

    it("keeps every machine's user data below what EC2 takes", async () => {
        const { resources } = await deployment();
        for (const { name, inputs } of ofType(resources, SERVER)) {
            const { bytes } = decodeUserData(inputs.userData);
            assert.ok(bytes < 16 * 1024, `${name}: ${bytes} bytes`);
        }
    });

    it("returns what clients, operators and scripts need", async () => {
        const { deployed, ...result } = (await deployment()).result;
        assert.ok(deployed);
        assert.deepEqual(result, {
            openstack: {
                endpoints: [`${FLOATING_IP}:9190`],
                gateways: ["10.30.0.50:9190", "10.30.0.51:9190"],
                balancerStatus: ["http://10.30.0.21:9192", "http://10.30.0.22:9192"],
                consulUi: "https://10.30.0.11:8501/ui",
            },
        });
    });

    it("has as many gateways as the pool is large, and leaves the others alone when it grows", async () => {
        const before = await deployment();
        const { resources } = await program({ "gateway:pool": { size: 4 } });
        const grown = resources.filter(({ name }) => !/^openstack-pool-[23]/.test(name));
        assert.equal(resources.length - grown.length, 6);
        assert.deepEqual(changed(before.resources, grown), []);
    });

    it("previews the same resources when nothing exists yet", async () => {
        const deployed = await deployment();
        const { resources } = await program({}, { preview: "new" });
        assert.deepEqual(byName(resources).map(key), byName(deployed.resources).map(key));
        // Addresses are arithmetic, so a preview shows them; identifiers are OpenStack's to give.
        const { inputs } = named(resources, "openstack-pool-0-port", PORT);
        assert.deepEqual(inputs.fixedIps, [{ subnetId: UNKNOWN, ipAddress: "10.30.0.50" }]);
        assert.equal(named(resources, "openstack-pool-0", SERVER).inputs.userData, UNKNOWN);
    });

    it("previews the very inputs of the deployment when it exists", async () => {
        const deployed = await deployment();
        const previewed = await program({}, { preview: "unchanged" });
        assert.deepEqual(changed(deployed.resources, previewed.resources), []);
        assert.deepEqual(previewed.result, deployed.result);
    });

    describe("in a given network", () => {
        const network = (more = {}) =>
            openstack({
                network: { kind: "given", networkId: GIVEN.networkId, subnetId: GIVEN.subnetId, ...more },
            });

        it("makes no network, and takes addresses of the given subnet", async () => {
            const { resources } = await program(network({ firstHost: 300 }));
            assert.deepEqual(resources.filter(({ type }) => /\/(network|subnet|router)/.test(type)).map(key), []);
            const places = ofType(resources, PORT).map(({ name, inputs }) => [
                name.replace("openstack-", ""),
                inputs.networkId,
                (inputs.fixedIps as { ipAddress: string }[])[0]?.ipAddress,
            ]);
            assert.deepEqual(places, [
                ["balancer-0-port", GIVEN.networkId, "172.16.9.55"],
                ["balancer-1-port", GIVEN.networkId, "172.16.9.56"],
                ["balancer-vip", GIVEN.networkId, "172.16.9.44"],
                ["discovery-0-port", GIVEN.networkId, "172.16.9.45"],
                ["discovery-1-port", GIVEN.networkId, "172.16.9.46"],
                ["discovery-2-port", GIVEN.networkId, "172.16.9.47"],
                ["pool-0-port", GIVEN.networkId, "172.16.9.84"],
                ["pool-1-port", GIVEN.networkId, "172.16.9.85"],
            ]);
        });

        it("refuses addresses that the subnet does not have, and a subnet of another network", async () => {
            await assert.rejects(
                program(network({ firstHost: 1000 })),
                /gateway:openstack.network: 172\.16\.8\.0\/22 has no address 10\d\d for a machine; allowed: a larger network/,
            );
            const networkId = "00000000-0000-4000-8000-00000000000f";
            await assert.rejects(program(network({ networkId })), /subnetId: .* is in the network .*, not in/);
        });
    });

    for (const stack of ["fabio", "serf-haproxy"] as const) {
        it(`has the stack ${stack}`, async () => {
            const { resources, result } = await program({ "gateway:loadBalancer": { stack } });
            const { machine } = decodeUserData(named(resources, "openstack-balancer-0", SERVER).inputs.userData);
            const units = machine.units.map(({ name }) => name);
            assert.ok(units.includes("gw-keepalived.service"));
            if (stack === "fabio") {
                assert.ok(units.includes("gw-fabio.service") && units.includes("gw-consul.service"));
                const files = machine.files.map(({ content }) => content).join("\n");
                assert.match(files, /^proxy\.addr = 0\.0\.0\.0:9190;proto=tcp$/m);
                assert.match(files, /GET \/health HTTP/);
            } else {
                assert.ok(units.includes("gw-serf.service") && !units.includes("gw-consul.service"));
                assert.equal(ofType(resources, SERVER).filter(({ name }) => name.includes("discovery")).length, 0);
                assert.equal(result.openstack?.consulUi, undefined);
                const { text } = decodeUserData(named(resources, "openstack-pool-0", SERVER).inputs.userData);
                for (const address of ["10.30.0.21", "10.30.0.22"]) assert.ok(text.includes(address), address);
            }
        });
    }

    it("deploys to AWS and OpenStack at once, each as it would by itself, save the loop and its way out", async () => {
        const hybrid = await program({}, {}, hybridStack);
        const alone = await deployment();
        const theirs = hybrid.resources.filter(({ name }) => /^openstack\b/.test(name));
        const withoutLoop = alone.resources.filter(({ name }) => !name.startsWith("openstack-discovery-api-"));
        assert.deepEqual(byName(theirs).map(key), byName(withoutLoop).map(key));
        const others = hybrid.resources.filter(({ name }) => !/^openstack\b/.test(name));
        assert.ok(others.length > 50 && others.every(({ name }) => /^aws\b/.test(name)));
        assert.deepEqual(Object.keys(hybrid.result).sort(), ["aws", "openstack"]);
        assert.deepEqual(hybrid.result.openstack, alone.result.openstack);
    });

    it("is made again the very same from what its state says it was given, without any file", async () => {
        const { resources, result } = await deployment();
        const inputs = deployedInputsSchema.parse(result[deployedInputsOutput]);
        const { config, secretKeys } = inputs;
        const index = require("../../index") as (inputs: DeployedInputs) => Promise<Record<string, unknown>>;
        const again = await run(() => index(inputs), {
            config: { ...config, "gateway:image": noFile(config) },
            secretKeys,
        });
        assert.deepEqual(changed(resources, again.resources), []);
        assert.equal(again.resources.length, resources.length);
    });

    it("registers nothing on a bad configuration", async () => {
        let registered: readonly Registration[] = [];
        await assert.rejects(
            program(openstack({ imageId: "Featured-Ubuntu24" }), { seen: (all) => (registered = all) }),
            (error: Error) => error instanceof ConfigError && error.message.includes("gateway:openstack.imageId"),
        );
        assert.deepEqual(registered, []);
    });

    it("refuses secrets that are not marked, and does not show them", async () => {
        await assert.rejects(
            program({}, { secretKeys: [] }),
            (error: Error) =>
                error instanceof ConfigError &&
                error.message.includes("gateway:secrets: holds its values in plain text") &&
                !Object.values(loopSecrets).some((secret) => error.message.includes(secret)),
        );
    });
});
