/** `npm run status`: its exit codes, and what it lists, on real supervisors. */
import * as assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatewayHome } from "../../lib/home";
import { isAlive } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import type { RoleFile, Service } from "../../programs/machine";
import type { SettingsFile } from "../../programs/replacer/settings";
import { createMachine, type MachineHome, readStatus, waitUntilReady } from "../../programs/supervisor/machine";
import type { MachineRecord } from "../../programs/supervisor/record";
import { decide } from "../../replacement/core/decide";
import { localPolicy } from "../../replacement/core/policy";
import { writeSnapshot } from "../../replacement/snapshot";
import { processLayout, renderProcess } from "../../roles/render/process";
import { SourceBundles } from "../../toolchain/bundles";
import { gone, memory, observation, remembered, slot } from "../unit/replacementFixtures";
import { ended } from "./support/project";

const CHECKOUT = join(__dirname, "../..");
const SLEEPS = ["/bin/sleep", "1000"];

describe("npm run status", function () {
    this.timeout(60_000);
    let root: string;
    let home: MachineHome;
    let records: MachineRecord[];
    let created = 0;
    const earlierHome = process.env.GATEWAY_HOME;

    const status = (...args: string[]) =>
        ended([process.execPath, "--import=tsx", join(CHECKOUT, "scripts/status.ts"), ...args], CHECKOUT, {
            GATEWAY_HOME: root,
        });
    const create = async (
        name: string,
        services: Readonly<Record<string, readonly string[]>>,
        files: RoleFile[] = [],
    ) => {
        const machine = renderProcess(
            {
                name: "test",
                files,
                services: Object.entries(services).map(
                    ([service, argv]): Service => ({ name: service, description: service, argv, user: "nobody" }),
                ),
                binaries: [],
                users: [],
                ports: [],
                healthChecks: [],
            },
            processLayout(name, `127.92.2.${++created}`),
        );
        records.push(await createMachine(home, machine, {}, false));
        return machine;
    };
    /** A machine that has the loop's settings, and its last look. */
    const loop = async (condition: "healthy" | "gone", age = 0) => {
        const settings: SettingsFile = {
            target: "local",
            consul: { addresses: ["http://127.0.0.1:1"], service: "gateway" },
            machinesDirectory: "..",
            journal: "lib/journal.jsonl",
            snapshot: "run/snapshot.json",
            projectDirectory: ".",
            stack: "local",
        };
        const file = { path: "etc/replacer.json", content: JSON.stringify(settings) };
        await waitUntilReady(home, await create("replacer", { replacer: SLEEPS }, [file]));
        const time = Date.now() / 1000 - age;
        const seen = { ...observation({ slots: [slot(condition === "gone" ? gone : {})] }), time };
        const decision = decide(
            seen,
            memory({ observedAt: time - 1, slots: { "gw-0": remembered("gw-0") } }),
            localPolicy,
        );
        const path = join(home.machines, "replacer", "run/snapshot.json");
        writeSnapshot(path, { pid: 42, policy: localPolicy, observation: seen, decision });
    };

    beforeEach(() => {
        root = mkdtempSync(join(tmpdir(), "gateway-status-"));
        process.env.GATEWAY_HOME = root;
        home = {
            machines: gatewayHome().machines,
            supervisor: join(gatewayHome().bundles, new SourceBundles().bundle("supervisor").file),
            resolveBinary: () => process.execPath,
        };
        records = [];
    });
    afterEach(() => {
        for (const record of records) if (isAlive(record)) process.kill(-record.pid, "SIGKILL");
        rmSync(root, { recursive: true, force: true });
        if (earlierHome === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlierHome;
    });

    it("ends with 1 where nothing is deployed, and for a command that does not exist", async () => {
        const nothing = await status();
        assert.equal(nothing.code, 1);
        assert.match(nothing.output, /Run "npm start" first/);
        await loop("healthy");
        assert.equal((await status("nonsense")).code, 1);
        assert.equal((await status("status", "--nonsense")).code, 1);
    });

    it("ends with 0 when everything is healthy and the loop runs, and lists every machine with its services", async () => {
        await waitUntilReady(home, await create("consul-0", { consul: SLEEPS }));
        await waitUntilReady(home, await create("lb-0", { haproxy: SLEEPS, reconciler: SLEEPS }));
        await loop("healthy");
        const { code, output } = await status();
        assert.equal(code, 0, output);
        assert.match(output, /^consul-0 +127\.92\.2\.\d+ +healthy +\d+ +consul:ready$/m);
        assert.match(output, /^lb-0 .* healthy .* haproxy:ready reconciler:ready$/m);
        assert.match(output, /^replacer .* healthy .* replacer:ready$/m);
        assert.match(output, /^loop +process 42/m);
        assert.equal((await status("status", "--json")).code, 0);
    });

    it("ends with 2, and names the service, when one fails for ever, also while it seems to be ready", async () => {
        await create("lb-0", { haproxy: SLEEPS, reconciler: ["/bin/false"] });
        await loop("healthy");
        await waitFor("it to fail", () => (readStatus(home, "lb-0")?.services.reconciler?.restarts ?? 0) >= 3, 20_000);
        const { code, output } = await status();
        assert.equal(code, 2, output);
        assert.match(
            output,
            /^NOT HEALTHY {2}lb-0: reconciler (is \w+|restarts again and again) \(\d+ restarts, ended with exit code 1\)$/m,
        );
        assert.match(output, /^lb-0 .* NOT HEALTHY /m);
    });

    it("ends with 2 when a machine does not run, or has lost its folder", async () => {
        await waitUntilReady(home, await create("consul-0", { consul: SLEEPS }));
        await loop("healthy");
        const [consul] = records as [MachineRecord];
        rmSync(join(home.machines, "consul-0"), { recursive: true });
        const lost = await status();
        assert.equal(lost.code, 2);
        assert.match(lost.output, /^NOT HEALTHY {2}consul-0: it runs, but its folder or its record was removed$/m);
        assert.equal(lost.output.match(/^consul-0 /gm)?.length, 1);
        // Its supervisor makes the folder again when it next writes.
        mkdirSync(join(home.machines, "consul-0/log"), { recursive: true });
        assert.equal((await status()).output.match(/^consul-0 /gm)?.length, 1);
        process.kill(-consul.pid, "SIGKILL");
        await waitFor("it to end", () => !isAlive(consul), 5_000);
        rmSync(join(home.machines, "consul-0"), { recursive: true });
        assert.equal((await status()).code, 0);

        await waitUntilReady(home, await create("consul-0", { consul: SLEEPS }));
        const again = records.at(-1) as MachineRecord;
        process.kill(-again.pid, "SIGKILL");
        await waitFor("it to end", () => !isAlive(again), 5_000);
        const dead = await status();
        assert.equal(dead.code, 2);
        assert.match(dead.output, /^NOT HEALTHY {2}consul-0: it does not run$/m);
        assert.match(dead.output, /^consul-0 .* consul:stopped$/m);
    });

    it("ends with 2 when the loop sees a gateway that is not healthy, also as JSON", async () => {
        await loop("gone");
        assert.equal((await status()).code, 2);
        const { code, stdout } = await status("status", "--json");
        assert.equal(code, 2);
        assert.ok((JSON.parse(stdout) as { snapshot: object }).snapshot);
    });

    it("ends with 2 when the loop has stopped, or is not there although the configuration wants it", async () => {
        await loop("healthy", 600);
        assert.equal((await status()).code, 2);
        const replacer = records.pop() as MachineRecord;
        process.kill(-replacer.pid, "SIGKILL");
        await waitFor("it to end", () => !isAlive(replacer), 5_000);
        rmSync(join(home.machines, "replacer"), { recursive: true });
        await waitUntilReady(home, await create("consul-0", { consul: SLEEPS }));
        const none = await status();
        assert.equal(none.code, 2);
        assert.match(none.output, /^NOT HEALTHY {2}the replacement loop is not deployed$/m);
        writeFileSync(join(root, "Pulumi.local.yaml"), "config: { gateway:replacement: { enabled: false } }\n");
        assert.equal((await status()).code, 0);
    });
});
