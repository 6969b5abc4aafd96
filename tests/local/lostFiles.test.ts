/** `npm run down` and `npm start` when files of the home folder are lost while machines run. */
import * as assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { engineMark } from "../../engine/processes";
import { gatewayHome } from "../../lib/home";
import { groupMembers, identify, isAlive } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import type { ProcessMachine } from "../../programs/supervisor/description";
import { createMachine, type MachineHome, waitUntilReady } from "../../programs/supervisor/machine";
import { type MachineRecord, machineFiles } from "../../programs/supervisor/record";
import { runningMachines } from "../../programs/supervisor/running";
import { processLayout, renderProcess } from "../../roles/render/process";
import { SourceBundles } from "../../toolchain/bundles";
import { ended } from "./support/project";

const CHECKOUT = join(__dirname, "../..");
const NAMES = ["consul-0", "gw-0", "replacer"];

/** A machine that listens on a port, as real ones do. */
function machineOf(name: string, index: number): ProcessMachine {
    const address = `127.92.1.${index + 1}`;
    const listen = `require("net").createServer().listen(9190, "${address}")`;
    const service = { name: "service", description: "listens", argv: [process.execPath, "-e", listen], user: "nobody" };
    return renderProcess(
        {
            name: "test",
            files: [],
            services: [service],
            binaries: [],
            users: [],
            ports: [{ name: "calls", port: 9190, protocol: "tcp", reach: "machine" }],
            healthChecks: [],
        },
        processLayout(name, address),
    );
}

describe("lost files of a deployment that runs", function () {
    this.timeout(120_000);
    let root: string;
    let home: MachineHome;
    let records: MachineRecord[];
    const earlierHome = process.env.GATEWAY_HOME;

    const command = (name: string) =>
        ended([process.execPath, "--import=tsx", join(CHECKOUT, "scripts", `${name}.ts`)], CHECKOUT, {
            GATEWAY_HOME: root,
        });
    const running = () => records.flatMap(({ pid }) => groupMembers(pid));

    beforeEach(async () => {
        root = mkdtempSync(join(tmpdir(), "gateway-lost-"));
        process.env.GATEWAY_HOME = root;
        home = {
            machines: gatewayHome().machines,
            supervisor: join(gatewayHome().bundles, new SourceBundles().bundle("supervisor").file),
            resolveBinary: () => process.execPath,
        };
        records = [];
        for (const [index, name] of NAMES.entries()) {
            records.push(await createMachine(home, machineOf(name, index), {}, false));
            await waitUntilReady(home, machineOf(name, index));
        }
    });

    afterEach(() => {
        for (const record of records) if (isAlive(record)) process.kill(-record.pid, "SIGKILL");
        rmSync(root, { recursive: true, force: true });
        if (earlierHome === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlierHome;
    });

    it("all of them: start says what to do, and down finds what runs and ends it", async () => {
        rmSync(root, { recursive: true });
        const start = await command("start");
        assert.equal(start.code, 1);
        assert.match(start.output, /machines of an earlier deployment run on/);
        for (const { name, pid } of records) assert.ok(start.output.includes(`${name} (process ${pid})`), start.output);
        assert.match(start.output, /"npm run down" ends them/);

        const down = await command("down");
        assert.equal(down.code, 0, down.output);
        for (const { name, pid } of records)
            assert.ok(
                down.output.includes(`${name}: stopped (process ${pid}; its folder had been removed)`),
                down.output,
            );
        assert.deepEqual(running(), []);
        assert.deepEqual(runningMachines(root), []);
        assert.equal(existsSync(root), false);
        assert.match((await command("down")).output, /Nothing is deployed here/);
    });

    it("all of them, moved to another place: down in the old one finds what runs", async () => {
        const moved = `${root}-moved`;
        renameSync(root, moved);
        try {
            assert.equal((await command("down")).code, 0);
            assert.deepEqual(running(), []);
        } finally {
            rmSync(moved, { recursive: true, force: true });
        }
    });

    it("the folders of another target's machines: down ends these, too", async () => {
        renameSync(join(root, "machines"), join(root, "machines-orders"));
        const down = await command("down");
        assert.equal(down.code, 0, down.output);
        assert.deepEqual(running(), []);
    });

    for (const file of [
        machineFiles.record,
        machineFiles.spec,
        machineFiles.status,
        "log",
        "run",
        "bin",
        ".",
    ] as const) {
        for (const how of ["lost", "cut off"] as const) {
            if (how === "cut off" && !/json$/.test(file)) continue;
            it(`${file} of each machine, ${how}: a deployment takes the place over, and down ends all`, async () => {
                for (const name of NAMES) {
                    const path = join(home.machines, name, file);
                    if (how === "lost") rmSync(path, { recursive: true });
                    else truncateSync(path, 5);
                }
                const [first] = records as [MachineRecord, ...MachineRecord[]];
                const again = await createMachine(home, machineOf("consul-0", 0), {}, true);
                records.push(again);
                await waitUntilReady(home, machineOf("consul-0", 0));
                // Either the same machine, or one in its place.
                assert.equal(isAlive(first), again.pid === first.pid);
                const down = await command("down");
                assert.equal(down.code, 0, down.output);
                assert.deepEqual(running(), []);
            });
        }
    }

    it("the engine's run that lost its command is ended, and that of a living command is not disturbed", async () => {
        const engine = (daemon: string): ChildProcess =>
            spawn("/bin/sleep", ["1000"], {
                stdio: "ignore",
                env: { GATEWAY_HOME: root, [engineMark]: `local-0123456789abcdef@${daemon}` },
            });
        const orphan = engine("1.0");
        const other = engine(`${process.pid}.${identify(process.pid)?.startTime}`);
        try {
            const refused = await command("down");
            assert.equal(refused.code, 1);
            assert.match(refused.output, new RegExp(`Process ${process.pid} is deploying from this checkout`));
            assert.ok(running().length > 0);
            other.kill("SIGKILL");
            await waitFor("it to end", () => other.signalCode !== null, 5_000);
            const down = await command("down");
            assert.equal(down.code, 0, down.output);
            await waitFor("the orphan to end", () => orphan.signalCode !== null, 5_000);
        } finally {
            for (const child of [orphan, other]) child.kill("SIGKILL");
        }
    });

    for (const file of ["passphrase", "Pulumi.local.yaml", "state", "bundles", "command/.lock"]) {
        it(`${file}, garbled: down ends all`, async () => {
            rmSync(join(root, file), { recursive: true, force: true });
            mkdirSync(dirname(join(root, file)), { recursive: true });
            writeFileSync(join(root, file), "\tx: [", { mode: 0o600 });
            const down = await command("down");
            assert.equal(down.code, 0, down.output);
            assert.deepEqual(running(), []);
            assert.equal(existsSync(root), false);
        });
    }
});
