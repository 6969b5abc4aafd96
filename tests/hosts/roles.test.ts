import * as assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { create as createCredentials } from "../../components/credentials/credentialsProvider";
import { machineName } from "../../components/machineNames";
import { balancerRole, consulCluster, discoveryRole, gatewayRole, type Registry } from "../../components/machineRoles";
import { parseConfig } from "../../config";
import { type Load, startLoad } from "../../gateway-sample/load";
import { gatewayHome } from "../../lib/home";
import { waitFor } from "../../lib/wait";
import { type ArtifactManifest, cloudLayout } from "../../programs/boot/description";
import { instanceRef, type Layout } from "../../programs/machine";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { renderCloudInit } from "../../roles/render/cloudInit";
import type { Role } from "../../roles/role";
import { type ToolName, toolPath } from "../../toolchain";
import { SourceBundles } from "../../toolchain/bundles";
import { command } from "./command";
import { Host } from "./host";
import { Lab } from "./lab";
import { type Listening, serveFolder, serveParameters, serveRoleCredentials } from "./standIns";
import { needsLab } from "./support/expect";

// It uses only settings that are the same on every target.
const { config } = parseConfig({ targets: "local" });
const CONSUL = "198.18.10.1";
const BALANCER = "198.18.20.1";
const GATEWAYS = ["198.18.30.1", "198.18.30.2"] as const;
const PREFIX = "/gateway/hosts";
/** Ports of the lab's own address, at which machines find artifacts and secrets. */
const PORTS = { artifacts: 8080, parameters: 8081 };

describe("the project's roles on booted machines", function () {
    this.timeout(180_000);
    let lab: Lab;
    let load: Load | undefined;
    let hosts: { consul: Host; balancer: Host; gateways: Host[] };
    const listening: Listening[] = [];

    before(async function () {
        needsLab(this);
        const needed: ToolName[] = ["consul", "consul-template", "fabio", "serf"];
        const missing = needed.filter((name) => !toolPath(name));
        if (missing.length > 0) {
            console.log(`      skipped: ${missing.join(", ")} missing; \`npm run tools\` gets them`);
            this.skip();
        }
        const folder = join(gatewayHome().root, "artifacts");
        await command(["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", folder], { timeoutMs: 120_000 });
        const manifest = JSON.parse(readFileSync(join(folder, "artifacts.json"), "utf8")) as ArtifactManifest;
        const { datacenter, service } = config;
        const { outs: credentials } = await createCredentials({ datacenter, servers: [CONSUL] });

        lab = await Lab.open();
        await lab.addMetadataAddress();
        const secrets = Object.entries(credentials.secrets).map(([name, value]) => [`${PREFIX}/${name}`, value]);
        listening.push(
            await serveFolder(folder, lab.address, PORTS.artifacts),
            await serveParameters(Object.fromEntries(secrets), lab.address, PORTS.parameters),
            await serveRoleCredentials(),
        );

        const boot = (name: string, address: string, role: (layout: Layout) => Role, layout: Layout) => {
            const { userData } = renderCloudInit({
                role: role(layout),
                layout,
                artifacts: { kind: "url", base: `http://${lab.address}:${PORTS.artifacts}`, manifest },
                secrets: {
                    kind: "ssm",
                    region: "us-east-1",
                    prefix: PREFIX,
                    endpoint: `http://${lab.address}:${PORTS.parameters}`,
                },
                boot: new SourceBundles().bundle("boot"),
            });
            return Host.boot({ lab, name, address, userData: Buffer.from(userData, "base64"), metadataServer: "lab" });
        };
        const { caCertificate, serverCertificate: certificate } = credentials;
        const cluster = consulCluster({ datacenter, join: [CONSUL], servers: 1, caCertificate });
        const registry: Registry = { kind: "consul", cluster };
        const files = new SourceBundles();
        const networks = ["198.18.0.0/15"];
        const { loadBalancerStack: stack, balancerPort: port, balancerSlots: slots, drainSeconds } = config;
        const [consul, balancer, ...gateways] = await Promise.all([
            boot(
                machineName.discovery(0),
                CONSUL,
                (layout) => discoveryRole(files, { cluster, certificate, gatewayService: service.name }, layout),
                cloudLayout(machineName.discovery(0), CONSUL),
            ),
            boot(
                machineName.balancer(0),
                BALANCER,
                (layout) =>
                    balancerRole(files, { registry, stack, service, port, networks, slots, drainSeconds }, layout),
                cloudLayout(machineName.balancer(0), BALANCER),
            ),
            // They learn their identity at boot, as in an AutoScaling group.
            ...GATEWAYS.map((address, index) =>
                boot(
                    `i-${index}`,
                    address,
                    (layout) => gatewayRole(files, { registry, service, balancers: { stack, port } }, layout),
                    cloudLayout(`gw-${instanceRef("id")}`, instanceRef("address")),
                ),
            ),
        ]);
        hosts = { consul, balancer, gateways };
    });

    after(async () => {
        await load?.stop();
        await Promise.all(listening.map((each) => each.close()));
        await lab?.close();
    });

    /** The addresses of the gateways to which the balancer sends calls. */
    const inUse = async (): Promise<string[]> => {
        const csv = await (await fetch(`${balancerStatusUrl({ address: BALANCER })}/;csv`)).text();
        const [heading = "", ...rows] = csv.replace("# ", "").trim().split("\n");
        const columns = heading.split(",");
        return rows
            .map((row) => Object.fromEntries(row.split(",").map((value, index) => [columns[index] ?? "", value])))
            .filter(({ pxname, addr, status }) => pxname === "gateways" && addr && status?.startsWith("UP"))
            .map(({ addr }) => (addr as string).split(":")[0] as string)
            .sort();
    };
    const isInUse = (...addresses: string[]) =>
        waitFor(
            `${addresses.join(" and ")} to be in use`,
            async () => {
                const found = await inUse();
                if (found.join() === addresses.join()) return true;
                throw new Error(`in use: ${found.join(", ") || "none"}`);
            },
            120_000,
            200,
        );

    it("boot from user data alone to a gateway that answers calls through its balancer", async () => {
        const { consul, balancer, gateways } = hosts;
        for (const host of [consul, balancer, ...gateways]) {
            await waitFor(
                `${host.name} to be ready`,
                async () => (await host.exec(["systemctl", "is-active", "gw-ready"])) === "active",
                120_000,
                500,
            ).catch(async (error: Error) => {
                throw new Error(`${error.message}\n${(await host.journal("gw-boot")).slice(-2000)}`);
            });
        }
        await isInUse(...GATEWAYS);
        const calls = startLoad({ addresses: [`${BALANCER}:${config.balancerPort}`], ratePerSecond: 20 });
        await waitFor("fifty calls", () => calls.live.ok >= 50, 20_000);
        assert.deepEqual((await calls.stop()).failures, []);
        // Its name is the instance's id.
        assert.match((await gateways[0]?.exec(["grep", "-rh", "node_name", "/etc/gateway/consul"])) ?? "", /"gw-i-0"/);
        assert.equal(await gateways[0]?.exec(["systemctl", "--failed", "--quiet"]), "");
    });

    it("lose no call when a gateway loses its power, and send it calls again once it is back", async () => {
        const [first, second] = hosts.gateways as [Host, Host];
        await isInUse(...GATEWAYS);
        load = startLoad({
            addresses: [`${BALANCER}:${config.balancerPort}`],
            ratePerSecond: 50,
            raw: false,
            deadlineMs: 5000,
        });
        await waitFor("calls", () => (load as Load).live.ok >= 20, 10_000);
        await first.powerOff();
        await isInUse(second.address);
        const { ok } = load.live;
        await waitFor("calls without it", () => (load as Load).live.ok >= ok + 50, 10_000);
        await first.start();
        await isInUse(...GATEWAYS);
        const report = await load.stop();
        assert.deepEqual(report.failures, []);
        assert.equal(report.ok, report.started);
    });
});
