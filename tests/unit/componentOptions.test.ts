import * as assert from "node:assert/strict";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { ConsulObjects } from "../../components/consulObjects";
import { ProjectProvider } from "../../components/dynamic/provider";
import { GatewayPool } from "../../components/gatewayPool";
import { LoadBalancer } from "../../components/loadBalancer";
import { filesFromSources } from "../../components/programFiles";
import { ServiceDiscovery } from "../../components/serviceDiscovery";
import { makeTarget } from "../../components/targets";
import { type GatewayConfig, loadConfig } from "../../config";
import { awsDevConfig } from "./support/awsStack";
import { identities } from "./support/identities";
import { type Registration, type RunOptions, run, useTemporaryHome } from "./support/mocks";
import { cloudConfig, SECRETS_KEY } from "./support/openstackStack";

const project = join(__dirname, "../..");
const KINDS = ["local", "aws", "openstack"] as const;
type Kind = (typeof KINDS)[number];

const optionsOf = (kind: Kind): RunOptions => ({
    config: { local: { "gateway:targets": ["local"] }, aws: awsDevConfig(), openstack: cloudConfig() }[kind],
    secretKeys: kind === "openstack" ? [SECRETS_KEY] : [],
});

/** The four components, all with the same options, whose names begin with that of their target. */
function deploy(
    kind: Kind,
    config: GatewayConfig,
    own: (name: string) => pulumi.ComponentResourceOptions,
    name = kind as string,
) {
    // Not the kind's maker: a second target has a name of its own.
    const target = makeTarget(kind, config, filesFromSources(project), own("target"), name);
    const { service, datacenter } = config;
    const discovery = new ServiceDiscovery(
        `${name}-discovery`,
        { target, balancers: 2, servers: 3, datacenter, gatewayService: service.name },
        own("discovery"),
    );
    const balancers = new LoadBalancer(
        `${name}-balancer`,
        {
            ...{ target, discovery, service, port: 9190, slots: 16, drainSeconds: 30, balancers: 2 },
            stack: "consul-template-haproxy",
        },
        own("balancer"),
    );
    const replacement = {};
    new GatewayPool(`${name}-pool`, { target, size: 2, service, discovery, balancers, replacement }, own("pool"));
    new ConsulObjects(`${name}-consul`, { discovery, service }, own("consul"));
}

const idOf = ({ typeChain, name }: Registration) => `${typeChain}::${name}`;
const packageOf = ({ type }: Registration) => type.split(":")[0] as string;
const isProvider = ({ type }: Registration) => type.startsWith("pulumi:providers:");
const isComponent = ({ type }: Registration) => type.startsWith("gateway:");

describe("the options of the components", function () {
    this.timeout(120_000);
    let restoreHome: () => void;
    before(() => {
        restoreHome = useTemporaryHome();
    });
    after(() => restoreHome());

    for (const kind of KINDS) {
        it(`reach every resource on target ${kind}: providers, transformations and protection`, async () => {
            const visited: string[] = [];
            const { resources } = await run(() => {
                const providers = ["consul", kind === "local" ? "pulumi-nodejs" : kind].map(
                    (name) => new Theirs(name, `their-${name}`),
                );
                if (kind !== "local") providers.push(new ProjectProvider("their-pulumi-nodejs"));
                if (kind === "aws") providers.push(new Theirs("random", "their-random"));
                deploy(kind, loadConfig(), () => ({
                    providers,
                    protect: true,
                    transformations: [
                        ({ name, type }) => {
                            visited.push(`${type} ${name}`);
                            return undefined;
                        },
                    ],
                }));
            }, optionsOf(kind));
            const ours = resources.filter(({ name }) => !name.startsWith("their-"));
            assert.ok(ours.length > 15);
            assert.deepEqual(ours.filter(isProvider), [], "no provider of our own is made");
            for (const each of ours) {
                assert.ok(each.protect, `${each.name} is protected`);
                assert.ok(visited.includes(`${each.type} ${each.name}`), `${each.name} is transformed`);
                if (!isComponent(each)) assert.equal(each.provider, `their-${packageOf(each)}`, each.name);
            }
        });

        it(`name every resource on target ${kind} by its component, so that a renamed one keeps what it has`, async () => {
            const before = await run(() => deploy(kind, loadConfig(), () => ({})), optionsOf(kind));
            const name = (part: string) => (part === "target" ? kind : `${kind}-${part}`);
            const after = await run(
                () => deploy(kind, loadConfig(), (part) => ({ aliases: [{ name: name(part) }] }), "renamed"),
                optionsOf(kind),
            );
            const known = after.resources.map((each) => identities(each, after.resources));
            for (const each of before.resources) {
                const heirs = known.filter((names) => names.includes(idOf(each)));
                assert.equal(heirs.length, 1, `${heirs.length} resources take over ${each.name}`);
            }
            // Not the keys: they are outputs of resources of their own, whose heirs are found above.
            const credentials = ({ resources }: typeof before) =>
                resources
                    .filter(({ type }) => type.endsWith(":Credentials"))
                    .map(({ inputs: { keys: _, ...others } }) => others);
            assert.deepEqual(credentials(after), credentials(before), "the authority and the tokens are kept");
        });

        it(`let a stack hold two deployments on target ${kind}, with different names`, async () => {
            const { resources } = await run(() => {
                for (const name of ["one", "two"]) deploy(kind, loadConfig(), () => ({}), name);
            }, optionsOf(kind));
            assert.equal(new Set(resources.map(idOf)).size, resources.length);
            for (const key of UNIQUE[kind]) {
                const of = (name: string) =>
                    resources
                        .filter((each) => each.name === name || each.name.startsWith(`${name}-`))
                        .flatMap(({ type, inputs }) => key(inputs, type) ?? []);
                const [one, two] = [new Set(of("one")), new Set(of("two"))];
                assert.ok(one.size > 0 && two.size > 0, String(key));
                assert.deepEqual(
                    [...one].filter((value) => two.has(value)),
                    [],
                    String(key),
                );
            }
        });
    }

    it("refuse a discovery on another target", async () => {
        await assert.rejects(
            run(() => {
                const config = loadConfig();
                const files = filesFromSources(project);
                const { service } = config;
                const discovery = new ServiceDiscovery("d", {
                    target: makeTarget("local", config, files),
                    ...{ balancers: 1, servers: 1, datacenter: "dc1", gatewayService: service.name },
                });
                new LoadBalancer("b", {
                    ...{ target: makeTarget("local", config, files, {}, "other"), discovery, service },
                    ...{ stack: "fabio", port: 9190, slots: 16, drainSeconds: 30, balancers: 1 },
                });
            }, optionsOf("local")),
            /its discovery and its balancers must be on its own target/,
        );
    });
});

/** A provider that a program makes itself. */
class Theirs extends pulumi.ProviderResource {
    constructor(pkg: string, name: string) {
        super(pkg, name, {});
    }
}

type Key = (inputs: Registration["inputs"], type: string) => unknown;
const record = (value: unknown) => (value ?? {}) as Readonly<Record<string, unknown>>;

/** What two deployments must not share, besides URNs: names by which a cloud, Consul or this computer finds things. */
const UNIQUE: Readonly<Record<Kind, readonly Key[]>> = {
    local: [({ machine, area }) => machine && `${area}/${record(machine).name}`],
    aws: [
        ({ name }, type) => (type === "aws:ssm/parameter:Parameter" ? name : undefined),
        ({ name }, type) => (type === "aws:autoscaling/group:Group" ? name : undefined),
        ({ tags }) => record(tags)["gateway-consul"],
    ],
    openstack: [
        ({ name }, type) => (type === "openstack:compute/instance:Instance" ? name : undefined),
        ({ metadata }) => record(metadata)["gateway-deployment"],
    ],
};
