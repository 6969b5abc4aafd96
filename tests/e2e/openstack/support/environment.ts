/** All that a deployment to OpenStack meets: a control plane, an object store for its state, and machines that are real. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fleet } from "../../../hosts/fleet";
import type { Host } from "../../../hosts/host";
import { Lab } from "../../../hosts/lab";
import { type Listening, serveFolder } from "../../../hosts/standIns";
import { type ControlPlane, startControlPlane } from "../controlPlane";
import { defaultSettings } from "../controlPlane/settings";
import { Api } from "./api";
import { MetadataAgent, novaCloud, roleOf, type Server, serversOf } from "./cloud";
import { type EngineResult, runEngine } from "./engine";
import type { EngineTask } from "./engineRun";
import { type Credential, fixtureNames, makeCredential, makeFixtures, writeCloudsYaml } from "./fixtures";
import { ObjectStore, stateKeys } from "./objectStore";
import { artifactsFolder } from "./requirements";

/** The stack that is deployed: the committed one, on this control plane. */
export const STACK = "jetstream";
/** The name of the cloud in the operator's `clouds.yaml`. */
const CLOUD = "jetstream2";
/** The deployment's network, which can be no real one. */
export const NETWORK = "198.18.30.0/24";
/** The clients' address in it. */
export const VIP = "198.18.30.10";
/** Ports of the lab's own address. */
const PORTS = { artifacts: 8080, objectStore: 9000 };
/** Longest time that a machine which is stopped may drain, milliseconds. */
const GRACE = 45_000;

/** Minutes as seconds: the machines boot in a quarter of a minute. */
export const POLICY = {
    healthyBetweenSeconds: 5,
    hardWindowSeconds: 20,
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
    maxGapSeconds: 30,
    observerTimeoutSeconds: 4,
} as const;

/** The environment of the tests. */
export class Environment {
    private constructor(
        readonly lab: Lab,
        readonly controlPlane: ControlPlane,
        readonly admin: Api,
        readonly operator: Api,
        readonly fleet: Fleet,
        /** What the loop logs in by. */
        readonly loopCredential: Credential,
        private readonly imageId: string,
        private readonly store: ObjectStore,
        private readonly agent: MetadataAgent,
        private readonly artifacts: Listening,
        private readonly home: string,
        private readonly say: (line: string) => void,
    ) {}

    /**
     * Sets everything up; nothing is deployed yet.
     *
     * @param say told what happens, for whoever has to find out why a test failed.
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
        writeCloudsYaml(join(home, "clouds.yaml"), CLOUD, authUrl, own);
        writeFileSync(join(home, "passphrase"), "a passphrase of the test's", { mode: 0o600 });
        const log = join(home, "log", "object-store.log");
        const store = await ObjectStore.start(lab.address, PORTS.objectStore, "gateway-state", log);
        const artifacts = await serveFolder(artifactsFolder(), lab.address, PORTS.artifacts);
        const agent = new MetadataAgent(lab.address);
        await agent.start();
        const fleet = new Fleet(lab, novaCloud(admin, agent.know), { say, gracePeriod: GRACE, atOnce: 4 });
        fleet.start();
        return new Environment(
            ...([
                lab,
                controlPlane,
                admin,
                operator,
                fleet,
                loop,
                imageId,
                store,
                agent,
                artifacts,
                home,
                say,
            ] as const),
        );
    }

    /**
     * Runs the engine as the operator does.
     *
     * @param changes keys whose values are other than usual.
     */
    engine(action: EngineTask["action"], changes: Readonly<Record<string, unknown>> = {}): Promise<EngineResult> {
        const overrides = {
            "gateway:image": { artifacts: this.artifacts.url, manifest: join(artifactsFolder(), "artifacts.json") },
            "gateway:openstack": {
                cloud: CLOUD,
                imageId: this.imageId,
                flavor: fixtureNames.flavor,
                network: { kind: "own", cidr: NETWORK },
                externalNetwork: fixtureNames.externalNetwork,
                clientCidrs: ["198.18.0.0/15"],
                loop: {
                    authUrl: this.controlPlane.authUrl,
                    credentialId: this.loopCredential.id,
                    stateBackend: this.store.backend,
                },
            },
            "gateway:replacement": POLICY,
            ...changes,
        };
        const secrets = {
            replacerPassphrase: "a passphrase of the test's",
            replacerCredentialSecret: this.loopCredential.secret,
            replacerStateAccess: stateKeys.access,
            replacerStateSecret: stateKeys.secret,
        };
        const environment = {
            GATEWAY_HOME: this.home,
            PULUMI_BACKEND_URL: this.store.backend,
            PULUMI_CONFIG_PASSPHRASE_FILE: join(this.home, "passphrase"),
            AWS_ACCESS_KEY_ID: stateKeys.access,
            AWS_SECRET_ACCESS_KEY: stateKeys.secret,
            OS_CLIENT_CONFIG_FILE: join(this.home, "clouds.yaml"),
        };
        return runEngine({ action, stack: STACK, overrides, secrets }, environment, this.say);
    }

    /** The deployment's servers, by what each is: `gw-0`, `consul-1` … @throws Error when one is there twice. */
    async servers(): Promise<ReadonlyMap<string, Server>> {
        const servers = new Map<string, Server>();
        for (const server of await serversOf(this.admin)) {
            const role = roleOf(server);
            if (servers.has(role)) throw new Error(`there are two servers for ${role}`);
            servers.set(role, server);
        }
        return servers;
    }

    /** The server of a role. @throws Error when there is none. */
    async server(role: string): Promise<Server> {
        const server = (await this.servers()).get(role);
        if (!server) throw new Error(`there is no server for ${role}`);
        return server;
    }

    /** The machine of a role. @throws Error when there is none. */
    async host(role: string): Promise<Host> {
        const { id } = await this.server(role);
        const host = this.fleet.hostOf(id);
        if (!host) throw new Error(`no machine was booted for ${role}`);
        return host;
    }

    /** Takes everything down. */
    async close(): Promise<void> {
        await this.fleet.stop();
        await this.agent.stop();
        await this.artifacts.close();
        await this.store.stop();
        await this.controlPlane.close();
        await this.lab.close();
        rmSync(this.home, { recursive: true, force: true });
    }
}
