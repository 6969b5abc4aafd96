import * as assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { engineProcesses, engineScope } from "../../engine/processes";
import { identify, signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { deploy, destroy, isChange, open, preview } from "../../scripts/deploy";
import { toolPath } from "../../toolchain";

const NETWORK = "127.94.0";

describe("an interrupted deployment", function () {
    this.timeout(180_000);
    let home: string;
    let machines: string;
    const earlier = { ...process.env };
    const overrides = {
        "gateway:local": { network: `${NETWORK}.0/24` },
        "gateway:discovery": { servers: 1 },
        "gateway:loadBalancer": { balancers: 1 },
    };
    const options = {
        say: () => undefined,
        overrides,
        get signal() {
            return new AbortController().signal;
        },
    };
    const up = async () => deploy(await open("local", options), options);

    before(function () {
        if (["pulumi", "consul", "consul-template", "haproxy"].some((tool) => !toolPath(tool as "pulumi"))) {
            console.log('      skipped: the tools are not installed ("npm run tools")');
            this.skip();
        }
        home = mkdtempSync(join(tmpdir(), "gateway-interruption-"));
        machines = join(home, "machines");
        process.env.GATEWAY_HOME = home;
    });

    after(async () => {
        if (!home) return;
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("names the address, the port and its owner if a port is taken, and comes up once it is free", async () => {
        const taken = createServer();
        await new Promise<void>((done) => taken.listen({ host: `${NETWORK}.11`, port: 8500 }, done));
        try {
            await assert.rejects(
                up(),
                new RegExp(
                    `consul-0 cannot start: in use: 127\\.94\\.0\\.11:8500 .*process ${process.pid}.*gateway:local`,
                    "s",
                ),
            );
        } finally {
            taken.close();
        }
        assert.deepEqual(supervisors(), []);
    });

    // Killed together with its engine and the provider: before, between and after the creations of machines.
    for (const machine of ["(engine)", "consul-0", "gw-0"]) {
        it(`continues where it was killed: at ${machine}`, async () => {
            const child = start();
            const reached = () =>
                machine === "(engine)" ? lockHeld() : readLiveRecord(join(machines, machine)) !== undefined;
            await waitFor(`${machine} to be reached`, reached, 60_000, 5);
            signal(-(child.pid as number), "SIGKILL");
            await waitFor("it to be dead", () => child.exitCode !== null || child.signalCode !== null, 5_000);
            await up();
            assert.deepEqual(engines(child.pid as number), []);
            assert.equal(isChange(await preview(await open("local", options), options)), false);
            assert.deepEqual(supervisors(), ["consul-0", "gw-0", "gw-1", "lb-0", "replacer"]);
            await destroy(await open("local", options), options);
            assert.deepEqual(supervisors(), []);
        });
    }

    function start(): ChildProcess {
        const script = join(__dirname, "../local/support/deploy.ts");
        const args = ["--import", "tsx", script, JSON.stringify(overrides)];
        return spawn(process.execPath, args, { detached: true, stdio: "ignore" });
    }

    /** The engine's processes that a run started. */
    function engines(pid: number): number[] {
        return engineProcesses(engineScope("local", home))
            .filter(({ daemon }) => daemon.startsWith(`${pid}.`))
            .map((found) => found.pid);
    }

    function lockHeld(): boolean {
        const locks = join(home, "state", ".pulumi", "locks", "organization", "gateway", "local");
        try {
            return readdirSync(locks).length > 0;
        } catch {
            return false;
        }
    }

    /** The names of machines with a running supervisor, once for each supervisor. */
    function supervisors(): string[] {
        return readdirSync("/proc")
            .filter((entry) => /^\d+$/.test(entry) && identify(Number(entry)))
            .flatMap((pid) => {
                try {
                    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
                    const directory = readlinkSync(`/proc/${pid}/cwd`);
                    const own = directory.startsWith(machines) && command.includes("supervisor-");
                    return own ? [directory.slice(machines.length + 1)] : [];
                } catch {
                    return [];
                }
            })
            .sort();
    }
});
