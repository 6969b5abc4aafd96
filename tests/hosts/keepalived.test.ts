import * as assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gatewayHome } from "../../lib/home";
import { waitFor } from "../../lib/wait";
import { type ArtifactManifest, cloudLayout } from "../../programs/boot/description";
import { keepalived } from "../../roles/keepalived";
import { haproxyBalancer } from "../../roles/loadBalancer/balancer";
import { renderCloudInit } from "../../roles/render/cloudInit";
import { mergeRoles } from "../../roles/role";
import { type ToolName, toolPath } from "../../toolchain";
import { SourceBundles } from "../../toolchain/bundles";
import { command } from "./command";
import { Host } from "./host";
import { Lab } from "./lab";
import { type Listening, serveFolder } from "./standIns";
import { connectTo, needsLab } from "./support/expect";

const PORTS = { artifacts: 8080, clients: 9190 };
const ADDRESSES = ["198.18.20.1", "198.18.20.2"] as const;
const SHARED = "198.18.20.10";

/**
 * Balancers that share an address, as on OpenStack. There are no gateways, because the address does not depend on them.
 */
describe("the balancers' shared address, on booted machines", function () {
    this.timeout(180_000);
    let lab: Lab;
    let artifacts: Listening | undefined;
    let balancers: Host[] = [];

    before(async function () {
        needsLab(this);
        const missing = (["consul", "consul-template", "fabio", "serf"] as ToolName[]).filter(
            (name) => !toolPath(name),
        );
        if (missing.length > 0) {
            // The machines need none of them, but the list of artifacts names all.
            console.log(`      skipped: ${missing.join(", ")} missing; \`npm run tools\` gets them`);
            this.skip();
        }
        const folder = join(gatewayHome().root, "artifacts");
        await command(["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", folder], { timeoutMs: 120_000 });
        const manifest = JSON.parse(readFileSync(join(folder, "artifacts.json"), "utf8")) as ArtifactManifest;
        lab = await Lab.open();
        artifacts = await serveFolder(folder, lab.address, PORTS.artifacts);
        balancers = await Promise.all(
            ADDRESSES.map((address, index) => {
                const layout = cloudLayout(`lb-${index}`, address);
                const peers = ADDRESSES.filter((other) => other !== address);
                const role = mergeRoles(
                    "balancer",
                    haproxyBalancer(
                        {
                            port: PORTS.clients,
                            listen: "0.0.0.0",
                            slots: 2,
                            networks: ["198.18.0.0/15"],
                            maxConnections: 10,
                            drainSeconds: 1,
                            reconcilerBundle: new SourceBundles().bundle("reconciler"),
                            haproxyVersion: "2.6",
                        },
                        layout,
                    ),
                    keepalived({ address: SHARED, peers, index, virtualRouterId: 51, statusPath: "/" }, layout),
                );
                const { userData } = renderCloudInit({
                    role,
                    layout,
                    artifacts: { kind: "url", base: `http://${lab.address}:${PORTS.artifacts}`, manifest },
                    secrets: { kind: "none" },
                    boot: new SourceBundles().bundle("boot"),
                });
                return Host.boot({ lab, name: layout.machine, address, userData: Buffer.from(userData, "base64") });
            }),
        );
    });

    after(async () => {
        await artifacts?.close();
        await lab?.close();
    });

    /** The running machines that hold the address. */
    const holders = async () => {
        const found = balancers.map(async (host) =>
            (await host.exec(["ip", "-brief", "address", "show", "dev", "host0"])).includes(`${SHARED}/32`),
        );
        const has = await Promise.all(found);
        return balancers.filter((_, index) => has[index]);
    };
    const oneHolder = async () => {
        const [holder, ...others] = await waitFor(
            "one balancer to hold the address",
            async () => {
                const all = await holders();
                return all.length === 1 ? all : undefined;
            },
            60_000,
            200,
        );
        assert.deepEqual(others, []);
        return holder as Host;
    };
    const moved = (to: Host) =>
        waitFor(
            `${to.name} to hold the address`,
            async () => {
                const all = await holders();
                return all.length === 1 && all[0] === to;
            },
            30_000,
            100,
        );
    const clientsGetThrough = () =>
        waitFor(
            "a connection to the address",
            async () => (await connectTo(SHARED, PORTS.clients, 1000)) === "connected",
            30_000,
            200,
        );

    it("is held by one of them, and clients reach it there", async () => {
        await Promise.all(
            balancers.map((host) =>
                waitFor(
                    `${host.name}'s keepalived`,
                    async () => (await host.exec(["systemctl", "is-active", "gw-keepalived"])) === "active",
                    120_000,
                    500,
                ),
            ),
        );
        await oneHolder();
        await clientsGetThrough();
    });

    it("moves to the other when its balancer hangs, and stays there after the recovery", async () => {
        const holder = await oneHolder();
        const other = balancers.find((host) => host !== holder) as Host;
        await holder.signal("gw-haproxy", "SIGSTOP");
        await moved(other);
        await clientsGetThrough();
        await holder.signal("gw-haproxy", "SIGCONT");
        await waitFor(
            "the check to pass again",
            async () => (await holder.journal("gw-keepalived")).trimEnd().endsWith("Entering BACKUP STATE"),
            30_000,
            500,
        );
        assert.equal((await oneHolder()).name, other.name);
    });

    it("moves to the other when its machine loses its power", async () => {
        const holder = await oneHolder();
        const other = balancers.find((host) => host !== holder) as Host;
        await holder.powerOff();
        balancers = [other];
        await moved(other);
        await clientsGetThrough();
    });
});
