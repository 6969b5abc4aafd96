/** The environment of a deployment to OpenStack: a control plane, an object store for its state, and real machines. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fleet } from "../../../hosts/fleet";
import type { Host } from "../../../hosts/host";
import { Lab } from "../../../hosts/lab";
import { type Listening, serveFolder } from "../../../hosts/standIns";
import { type EngineResult, runEngine } from "../../support/engine";
import type { EngineTask } from "../../support/engineRun";
import { artifactsFolder } from "../../support/requirements";
import { type ControlPlane, startControlPlane } from "../controlPlane";
import { defaultSettings } from "../controlPlane/settings";
import { Api } from "./api";
import { MetadataAgent, novaCloud, roleOf, type Server, serversOf } from "./cloud";
import { type Credential, fixtureNames, makeCredential, makeFixtures, writeCloudsYaml } from "./fixtures";
import { ObjectStore, stateKeys } from "./objectStore";

/** The stack to deploy: the committed one, on this control plane. */
export const STACK = "jetstream";
/** The name of the cloud in the operator's `clouds.yaml`. */
const CLOUD = "jetstream2";
/** The deployment's network, in a range that is reserved for tests. */
export const NETWORK = "198.18.30.0/24";
/** The address in it that clients call. */
export const VIP = "198.18.30.10";
/** Ports of the lab's own address. */
const PORTS = { artifacts: 8080, objectStore: 9000 };
/** Maximum time that a stopped machine may drain, milliseconds. */
const GRACE = 45_000;

/** Shorter than the defaults, because these machines boot in a quarter of a minute. */
export const POLICY = {
    healthyBetweenSeconds: 5,
    hardWindowSeconds: 60,
    softSeconds: 12,
    bootGraceSeconds: 400,
    budgetPerHour: 60,
    budgetPerDayPerServer: 240,
    backoffFirstSeconds: 5,
    backoffMaxSeconds: 30,
    holdSeconds: 30,
    stuckSeconds: 400,
    sweepSeconds: 20,
    duplicateSeconds: 10,
    orphanSeconds: 30,
    lockRetrySeconds: 5,
    intervalSeconds: 2,
    maxGapSeconds: 60,
    observerTimeoutSeconds: 8,
} as const;

/** A load balancer of the cloud, as its API shows it. */
export interface CloudBalancer {
    readonly name: string;
    readonly address: string;
    readonly provisioning_status: string;
    readonly listeners: readonly {
        readonly provisioning_status: string;
        readonly pools: readonly {
            readonly provisioning_status: string;
            readonly members: readonly {
                readonly address: string;
                readonly protocol_port: number;
                readonly provisioning_status: string;
            }[];
        }[];
    }[];
}

/** Settings of an environment. */
interface Parts {
    readonly lab: Lab;
    readonly controlPlane: ControlPlane;
    readonly admin: Api;
    readonly operator: Api;
    readonly fleet: Fleet;
    readonly imageId: string;
    readonly store: ObjectStore;
    readonly agent: MetadataAgent;
    readonly artifacts: Listening;
    /** A separate folder, outside the checkout. */
    readonly home: string;
}

/** The environment of the tests. */
export class Environment {
    /**
     * Keys of the configuration with other values than usual, from now on. For `gateway:openstack`, only the parts that
     * differ.
     */
    changes: Readonly<Record<string, unknown>> = {};

    private constructor(
        private readonly parts: Parts,
        private readonly ownCredential: Credential,
        /** The loop's login. */
        readonly loopCredential: Credential,
        private readonly say: (line: string) => void,
    ) {}

    /** Logged in as the cloud's administrator. */
    get admin(): Api {
        return this.parts.admin;
    }

    /** Logged in as the operator of the project that is deployed to. */
    get operator(): Api {
        return this.parts.operator;
    }

    /**
     * Sets everything up, without a deployment.
     *
     * @param say receives messages that help to explain a failed test.
     */
    static async open(say: (line: string) => void): Promise<Environment> {
        const home = mkdtempSync(join(tmpdir(), "gateway-e2e-openstack-"));
        mkdirSync(join(home, "log"));
        const lab = await Lab.open();
        await lab.addMetadataAddress();
        const controlPlane = await startControlPlane(defaultSettings(), say);
        const { authUrl } = controlPlane;
        const [admin, operator] = await Promise.all([Api.login(authUrl, "admin"), Api.login(authUrl, "operator")]);
        const imageId = await makeFixtures(admin);
        const own = await makeCredential(operator, "operator");
        const loop = await makeCredential(operator, "loop");
        writeFileSync(join(home, "passphrase"), "a passphrase of the test's", { mode: 0o600 });
        const log = join(home, "log", "object-store.log");
        const store = await ObjectStore.start(lab.address, PORTS.objectStore, "gateway-state", log);
        const artifacts = await serveFolder(artifactsFolder("openstack"), lab.address, PORTS.artifacts);
        const agent = new MetadataAgent(lab.address);
        await agent.start();
        const fleet = new Fleet(lab, novaCloud(admin, agent.know), { say, gracePeriod: GRACE, atOnce: 4 });
        fleet.start();
        return new Environment(
            { lab, controlPlane, admin, operator, fleet, imageId, store, agent, artifacts, home },
            own,
            loop,
            say,
        );
    }

    /**
     * Runs the engine as the operator does.
     *
     * @param changes keys with other values than usual, this time.
     * @param credential the login; default: the operator's.
     */
    engine(
        action: EngineTask["action"],
        changes: Readonly<Record<string, unknown>> = {},
        credential: Credential = this.ownCredential,
    ): Promise<EngineResult> {
        const { "gateway:openstack": openstack = {}, ...others } = { ...this.changes, ...changes };
        const overrides = {
            "gateway:image": {
                artifacts: this.parts.artifacts.url,
                manifest: join(artifactsFolder("openstack"), "artifacts.json"),
            },
            "gateway:openstack": {
                cloud: CLOUD,
                imageId: this.parts.imageId,
                flavor: fixtureNames.flavor,
                network: { kind: "own", cidr: NETWORK },
                externalNetwork: fixtureNames.externalNetwork,
                clientCidrs: ["198.18.0.0/15"],
                loop: {
                    authUrl: this.parts.controlPlane.authUrl,
                    credentialId: this.loopCredential.id,
                    stateBackend: this.parts.store.backend,
                    // The tests' control plane and storage have no TLS.
                    allowPlainHttp: true,
                },
                ...(openstack as object),
            },
            "gateway:replacement": POLICY,
            ...others,
        };
        const secrets = {
            replacerPassphrase: "a passphrase of the test's",
            replacerCredentialSecret: this.loopCredential.secret,
            replacerStateAccess: stateKeys.access,
            replacerStateSecret: stateKeys.secret,
        };
        const clouds = join(this.parts.home, "clouds.yaml");
        writeCloudsYaml(clouds, CLOUD, this.parts.controlPlane.authUrl, credential);
        const environment = {
            GATEWAY_HOME: this.parts.home,
            PULUMI_BACKEND_URL: this.parts.store.backend,
            PULUMI_CONFIG_PASSPHRASE_FILE: join(this.parts.home, "passphrase"),
            AWS_ACCESS_KEY_ID: stateKeys.access,
            AWS_SECRET_ACCESS_KEY: stateKeys.secret,
            OS_CLIENT_CONFIG_FILE: clouds,
        };
        return runEngine({ action, stack: STACK, overrides, secrets }, environment, this.say);
    }

    /** The deployment's servers by role: `gw-0`, `consul-1` … @throws Error if two have the same role. */
    async servers(): Promise<ReadonlyMap<string, Server>> {
        const servers = new Map<string, Server>();
        for (const server of await serversOf(this.admin)) {
            const role = roleOf(server);
            if (servers.has(role)) throw new Error(`there are two servers for ${role}`);
            servers.set(role, server);
        }
        return servers;
    }

    /** The server of a role. @throws Error if there is none. */
    async server(role: string): Promise<Server> {
        const server = (await this.servers()).get(role);
        if (!server) throw new Error(`there is no server for ${role}`);
        return server;
    }

    /** The machine of a role. @throws Error if there is none. */
    async host(role: string): Promise<Host> {
        const { id } = await this.server(role);
        const host = this.parts.fleet.hostOf(id);
        if (!host) throw new Error(`no machine was booted for ${role}`);
        return host;
    }

    /** Sets the project's quota of servers. */
    async setServerQuota(instances: number): Promise<void> {
        const path = `/os-quota-sets/${this.operator.projectId}`;
        await this.admin.ask("compute", "PUT", path, { quota_set: { instances, force: true } });
    }

    /** Lets Nova place servers on its hypervisors, or on none. */
    async setHypervisors(enabled: boolean): Promise<void> {
        const binary = "nova-compute";
        const path = `/os-services?binary=${binary}`;
        const { services } = await this.admin.ask<{ services: { host: string }[] }>("compute", "GET", path);
        const change = `/os-services/${enabled ? "enable" : "disable"}`;
        for (const { host } of services) await this.admin.ask("compute", "PUT", change, { host, binary });
    }

    /** Ports of the deployment's machines that belong to no server. */
    async loosePorts(): Promise<string[]> {
        const { ports } = await this.operator.ask<{ ports: { name: string; device_id: string }[] }>(
            "network",
            "GET",
            "/ports",
        );
        // The port of the clients' shared address belongs to no server.
        return ports.filter(({ name, device_id }) => !device_id && !name.endsWith("-vip")).map(({ name }) => name);
    }

    /** The cloud's load balancers in the operator's project, each with all its parts. */
    async loadBalancers(): Promise<CloudBalancer[]> {
        const list = "/lbaas/loadbalancers";
        type List = { loadbalancers: { id: string; name: string; vip_address: string }[] };
        const { loadbalancers } = await this.operator.ask<List>("load-balancer", "GET", list);
        return Promise.all(
            loadbalancers.map(async ({ id, name, vip_address: address }) => {
                const path = `${list}/${id}/status`;
                const answer = await this.operator.ask<{ statuses: { loadbalancer: CloudBalancer } }>(
                    "load-balancer",
                    "GET",
                    path,
                );
                return { ...answer.statuses.loadbalancer, name, address };
            }),
        );
    }

    /** Everything in the operator's project of the kinds that a deployment creates; empty if there is nothing. */
    async leftovers(): Promise<string[]> {
        const kinds = ["ports", "networks", "subnets", "routers", "floatingips", "security-groups"] as const;
        const found: string[] = [];
        for (const kind of kinds) {
            const path = `/${kind}?project_id=${this.operator.projectId}`;
            const answer = await this.operator.ask<Record<string, { name: string }[]>>("network", "GET", path);
            const all = answer[kind.replace("-", "_")] ?? [];
            // Neutron itself creates a group of this name in each project.
            found.push(...all.filter(({ name }) => name !== "default").map(({ name }) => `${kind}: ${name}`));
        }
        const { server_groups: groups } = await this.operator.ask<{ server_groups: { name: string }[] }>(
            "compute",
            "GET",
            "/os-server-groups",
        );
        const balancers = await this.loadBalancers();
        return [
            ...found,
            ...groups.map(({ name }) => `server group: ${name}`),
            ...balancers.map(({ name }) => `load balancer: ${name}`),
        ];
    }

    /** Takes everything down. */
    async close(): Promise<void> {
        await this.parts.fleet.stop();
        await this.parts.agent.stop();
        await this.parts.artifacts.close();
        await this.parts.store.stop();
        await this.parts.controlPlane.close();
        await this.parts.lab.close();
        rmSync(this.parts.home, { recursive: true, force: true });
    }
}
