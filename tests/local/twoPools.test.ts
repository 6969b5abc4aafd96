import * as assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Load, startLoad } from "../../gateway-sample/load";
import { request } from "../../lib/http";
import { waitFor } from "../../lib/wait";
import { killMachine, stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { readJournal } from "../../replacement/journal";
import { deploy, destroy, isChange, open, preview } from "../../scripts/deploy";
import { toolPath } from "../../toolchain";

const MACHINES = ["consul-0", "gw-0", "gw-1", "lb-0", "replacer"];
/** How the clients of each pool speak. */
const CLIENTS = {
    orders: { addresses: ["127.91.0.21:9190"], framed: true },
    search: { addresses: ["127.92.0.21:9290"], serviceName: "GatewayApi" },
} as const;
type Pool = keyof typeof CLIENTS;
const POOLS = Object.keys(CLIENTS) as Pool[];

describe("two pools in one stack, of another package's program", function () {
    this.timeout(300_000);
    let home: string;
    const earlier = { ...process.env };
    const loads: Load[] = [];
    const folder = (pool: Pool) => join(home, `machines-${pool}`);
    const incarnation = (pool: Pool, name: string) => readLiveRecord(join(folder(pool), name))?.incarnation;
    const optionsFor = (pools: readonly Pool[]) => ({
        say: () => undefined,
        signal: new AbortController().signal,
        project: resolve("examples/two-pools"),
        overrides: { "two-pools:pools": pools },
    });
    /** Calls of repeating clients. */
    const call = (pool: Pool): Load => {
        const load = startLoad({ ...CLIENTS[pool], ratePerSecond: 50, raw: false, deadlineMs: 5000 });
        loads.push(load);
        return load;
    };
    const answered = (load: Load, calls: number) => {
        const before = load.live.ok;
        return waitFor(`${calls} answers`, () => load.live.ok >= before + calls, 60_000);
    };
    const journal = (pool: Pool) => readJournal(join(folder(pool), "replacer/lib/journal.jsonl"));
    const healthy = (pool: Pool) =>
        waitFor(
            `the loop of ${pool} to see two healthy gateways`,
            () => {
                const last = journal(pool)
                    .filter((entry) => entry.kind === "decision")
                    .at(-1);
                return (
                    last?.kind === "decision" &&
                    last.decision.slots.length === 2 &&
                    last.decision.slots.every(({ condition }) => condition === "healthy")
                );
            },
            120_000,
        );

    before(async function () {
        if (["pulumi", "consul", "consul-template", "haproxy"].some((tool) => !toolPath(tool as "pulumi"))) {
            console.log('      skipped: the tools are not installed ("npm run tools")');
            return this.skip();
        }
        home = mkdtempSync(join(tmpdir(), "gateway-two-"));
        process.env.GATEWAY_HOME = home;
    });

    after(async () => {
        if (!home) return;
        await Promise.all(loads.map((load) => load.stop()));
        for (const pool of POOLS) {
            for (const name of machineNames(folder(pool)).reverse())
                await stopMachine({ machines: folder(pool) }, name);
        }
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("come up side by side, each with its own machines, and both answer", async () => {
        const options = optionsFor(POOLS);
        const stack = await open("dev", options);
        assert.deepEqual(Object.keys(await deploy(stack, options)), ["create"]);
        assert.ok(!readdirSync(home).includes("machines"));
        for (const pool of POOLS) {
            assert.deepEqual(machineNames(folder(pool)), MACHINES, pool);
            const load = call(pool);
            await answered(load, 50);
            assert.equal((await load.stop()).failed, 0, pool);
        }
        assert.equal(isChange(await preview(stack, options)), false);
    });

    it("are healed by a loop each, which knows only its own gateways", async () => {
        await Promise.all(POOLS.map(healthy));
        const before = incarnation("orders", "gw-0");
        const killed = incarnation("search", "gw-0");
        await killMachine({ machines: folder("search") }, "gw-0");
        await waitFor(
            "another gateway in its place",
            () => ![undefined, killed].includes(incarnation("search", "gw-0")),
            120_000,
        );
        await healthy("search");
        assert.equal(incarnation("orders", "gw-0"), before);
        const acted = (pool: Pool) => journal(pool).filter(({ kind }) => kind === "action").length;
        assert.ok(acted("search") > 0);
        assert.equal(acted("orders"), 0);
        for (const [index, pool] of POOLS.entries()) {
            const { body } = await request({ url: `http://127.${91 + index}.0.31:9195/metrics`, timeoutSeconds: 2 });
            assert.match(body, /^gateway_replacement_slots\{condition="healthy"\} 2$/m, pool);
        }
    });

    it("let one be removed without a failed call at the other, and that one goes on healing", async () => {
        const options = optionsFor(["orders"]);
        const load = call("orders");
        await answered(load, 50);
        const stack = await open("dev", options);
        const changes = await deploy(stack, options);
        assert.deepEqual(Object.keys(changes).sort(), ["delete", "same"]);
        assert.deepEqual(machineNames(folder("search")), []);
        await answered(load, 50);
        assert.equal((await load.stop()).failed, 0);
        const killed = incarnation("orders", "gw-1");
        await killMachine({ machines: folder("orders") }, "gw-1");
        await waitFor(
            "another gateway in its place",
            () => ![undefined, killed].includes(incarnation("orders", "gw-1")),
            120_000,
        );
    });

    it("go without a trace", async () => {
        const options = optionsFor(["orders"]);
        await destroy(await open("dev", options), options);
        for (const pool of POOLS) assert.deepEqual(machineNames(folder(pool)), []);
    });
});
