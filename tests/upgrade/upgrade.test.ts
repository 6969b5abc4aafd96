/** Deploys the previous release on this computer as a user does, and updates it to this version under load. */
import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseDocument } from "yaml";
import { statesAt } from "../../clients/balancerStatus";
import { balancingStack } from "../../engine/stack";
import { type Failure, startLoad } from "../../gateway-sample/load";
import { waitFor } from "../../lib/wait";
import { killMachine, readMachine, readStatus, stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { type JournalEntry, readJournal } from "../../replacement/journal";
import { renderEntry } from "../../replacement/report";
import type { Snapshot } from "../../replacement/snapshot";
import { ensureTools, toolsOf } from "../../toolchain";
import { testNetwork } from "../local/support/balancer";
import {
    missingRelease,
    previousEnvironment,
    previousRelease,
    turnIntoThisVersion,
    unpackPrevious,
    userEnvironment,
} from "./previousRelease";

const run = promisify(execFile);
/** Calls per second of the client that repeats, and of the one that tries once. */
const RATE = { repeated: 300, once: 100 };

/** What runs on each machine: its incarnation, and since when each service has been as it is. */
type Running = Readonly<Record<string, { readonly incarnation: string; readonly services: Record<string, string> }>>;

describe("an update from the previous release", function () {
    this.timeout(300_000);
    const address = testNetwork();
    const balancers = [address(21), address(22)];
    let folder = "";
    let machines: string;
    let project: string;
    /** The environment for the version that is in the project's folder. */
    let environment: NodeJS.ProcessEnv;
    let earlier: {
        readonly running: Running;
        readonly taken: readonly number[];
        readonly journal: readonly JournalEntry[];
    };

    before(async function () {
        // It may have to install tools and packages first.
        this.timeout(30 * 60_000);
        const missing = await missingRelease();
        if (missing) {
            console.log(`      skipped: ${missing}`);
            this.skip();
        }
        const names = ["pulumi", ...toolsOf(balancingStack("local"))] as const;
        environment = previousEnvironment(Object.values(await ensureTools(names, { progress: console.log })));
        folder = mkdtempSync(join(tmpdir(), "gateway-upgrade-"));
        project = join(folder, "project");
        machines = join(project, ".gateway", "machines");
        await unpackPrevious(project);
    });

    after(async () => {
        if (!folder) return;
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(folder, { recursive: true, force: true });
    });

    // Each step needs the one before.
    let broken = false;
    beforeEach(function () {
        if (broken) this.skip();
    });
    afterEach(function () {
        if (this.currentTest?.state !== "failed") return;
        broken = true;
        const log = join(machines, "replacer", "log", "replacer.log");
        if (!existsSync(log)) return;
        for (const entry of journal().slice(-5)) console.log(renderEntry(entry)?.slice(0, 1500));
        console.log(`the end of ${log}:\n${readFileSync(log, "utf8").slice(-4_000)}`);
    });

    it(`deploys ${previousRelease.slice(0, 12)} and has it replace a gateway`, async () => {
        chooseNetwork();
        // It kills a gateway, so the loop has something to remember.
        const told = await npm("start");
        assert.match(told, /the pool is whole/);
        await settled();
        const { memory } = (await snapshot()).decision;
        earlier = { running: running(), taken: memory.taken, journal: journal() };
        assert.deepEqual(Object.keys(earlier.running).sort(), [
            ...["consul-0", "consul-1", "consul-2", "gw-0", "gw-1", "lb-0", "lb-1", "replacer"],
        ]);
        assert.equal(earlier.taken.length, 1);
    });

    it("updates it to this version without a failed call", async () => {
        await turnIntoThisVersion(project);
        environment = userEnvironment();
        chooseNetwork();
        const addresses = balancers.map((balancer) => `${balancer}:9190`);
        const repeated = startLoad({ addresses, ratePerSecond: RATE.repeated, raw: false });
        const once = startLoad({ addresses, ratePerSecond: RATE.once });
        let began = 0;
        let seconds: number;
        let told: string;
        try {
            await waitFor("calls", () => repeated.live.ok > 2 * RATE.repeated, 20_000);
            began = Date.now();
            told = await npm("run", "up", "--", "local");
            seconds = (Date.now() - began) / 1000;
            const { ok } = repeated.live;
            await waitFor("more calls", () => repeated.live.ok > ok + 2 * RATE.repeated, 20_000);
        } finally {
            await Promise.all([repeated.stop(), once.stop()]);
        }
        const [many, few] = await Promise.all([repeated.stop(), once.stop()]);
        console.log(
            `      ${seconds.toFixed(0)} s at ${RATE.repeated} calls/s that are repeated, ${RATE.once} that are not:`,
        );
        console.log(
            `      ${many.failed} of ${many.started} repeated calls failed, ${few.failed} of ${few.started} others`,
        );
        for (const line of rolled(earlier.running, running())) console.log(`      ${line}`);
        if (many.failed > 0) {
            // When, in seconds since the update began, beside what that said.
            const since = ({ startedAt }: Failure) => `${((startedAt - began) / 1000).toFixed(1)} s`;
            console.log(`      failed calls began at ${[...new Set(many.failures.map(since))].join(", ")}\n${told}`);
        }
        assert.deepEqual(many.failures.slice(0, 3), []);
    });

    it("has every service of every machine ready, and both balancers use both gateways", async () => {
        await settled();
        for (const name of Object.keys(earlier.running)) {
            const services = readStatus({ machines }, name)?.services ?? {};
            const wanted = readMachine({ machines }, name)?.services.map((service) => service.name) ?? [];
            assert.deepEqual(Object.keys(services).sort(), wanted.sort(), name);
            for (const [service, { state }] of Object.entries(services)) {
                assert.ok(["ready", "succeeded"].includes(state), `${service} of ${name} is ${state}`);
            }
        }
        for (const balancer of balancers) {
            const states = await statesAt(`http://${balancer}:9192`, 2);
            assert.deepEqual([states.get(address(50)), states.get(address(51))], ["up", "up"], balancer);
        }
    });

    it("has nothing more to change", async () => {
        assert.match(await npm("run", "preview", "--", "local"), /no changes/);
    });

    it("goes on with the loop's memory and journal as they were", async () => {
        const { memory } = (await snapshot()).decision;
        assert.deepEqual(memory.taken.slice(0, earlier.taken.length), earlier.taken);
        assert.deepEqual(journal().slice(0, earlier.journal.length), earlier.journal);
        const told = await npm("run", "status", "--", "explain", "--last", "100");
        const replaced = earlier.journal.find(
            (entry) => entry.kind === "decision" && entry.decision.actions.length > 0,
        );
        assert.ok(replaced?.kind === "decision");
        assert.ok(told.includes(replaced.decision.reasons[0] ?? "?"), told);
    });

    it("replaces a gateway that dies", async () => {
        const { memory } = (await snapshot()).decision;
        const lost = readLiveRecord(join(machines, "gw-1"))?.incarnation;
        const killedAt = Date.now() / 1000;
        assert.ok(await killMachine({ machines }, "gw-1"));
        await waitFor(
            "the loop to be done",
            () => journal().some((entry) => entry.kind === "action" && entry.time > killedAt),
            120_000,
        );
        await settled();
        assert.notEqual(readLiveRecord(join(machines, "gw-1"))?.incarnation, lost);
        assert.deepEqual((await snapshot()).decision.memory.taken.slice(0, -1), memory.taken);
    });

    it("leaves nothing when this version removes it", async () => {
        await npm("run", "down");
        assert.equal(existsSync(join(project, ".gateway")), false);
        assert.deepEqual(processes(), []);
    });

    /** Runs npm in the project's folder as it is now. @returns what it printed. @throws Error with the end of that. */
    async function npm(...argv: string[]): Promise<string> {
        const options = { cwd: project, env: environment, maxBuffer: 2 ** 26 };
        return run("npm", argv, options).then(
            ({ stdout }) => stdout,
            ({ stdout = "", stderr = "" }: { stdout?: string; stderr?: string }) => {
                throw new Error(`npm ${argv.join(" ")} failed:\n${`${stdout}\n${stderr}`.slice(-4_000)}`);
            },
        );
    }

    /** Gives the deployment loopback addresses of its own. */
    function chooseNetwork(): void {
        const path = join(project, "Pulumi.local.yaml");
        const document = parseDocument(readFileSync(path, "utf8"));
        document.setIn(["config", "gateway:local", "network"], `${address(0)}/24`);
        writeFileSync(path, document.toString());
    }

    function journal(): JournalEntry[] {
        return readJournal(join(machines, "replacer", "lib", "journal.jsonl"));
    }

    /** What the loop saw and decided last, as the project's version tells it. */
    async function snapshot(): Promise<Snapshot> {
        const told = await npm("run", "--silent", "status", "--", "status", "--json");
        return (JSON.parse(told) as { snapshot: Snapshot }).snapshot;
    }

    /** Waits until the loop has seen all gateways healthy after now, and has nothing in flight. */
    async function settled(): Promise<void> {
        const start = Date.now() / 1000;
        await waitFor(
            "the loop to see the pool whole",
            async () => {
                const { decision } = await snapshot();
                const { slots, memory } = decision;
                const whole = slots.length === 2 && slots.every(({ condition }) => condition === "healthy");
                if (decision.time > start && whole && !memory.inFlight) return true;
                throw new Error(decision.reasons.join("; "));
            },
            90_000,
            1_000,
        );
    }

    function running(): Running {
        return Object.fromEntries(
            machineNames(machines).map((name) => {
                const services = Object.entries(readStatus({ machines }, name)?.services ?? {});
                const since = Object.fromEntries(services.map(([service, status]) => [service, status.since]));
                return [
                    name,
                    { incarnation: readLiveRecord(join(machines, name))?.incarnation ?? "", services: since },
                ];
            }),
        );
    }

    /** The processes that belong to the project's folder, by what they are or where they run. */
    function processes(): string[] {
        return readdirSync("/proc")
            .filter((entry) => /^\d+$/.test(entry))
            .flatMap((pid) => {
                try {
                    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
                    const own = readlinkSync(`/proc/${pid}/cwd`).startsWith(folder) || command.includes(folder);
                    return own ? [command] : [];
                } catch {
                    // Ended meanwhile, or another user's.
                    return [];
                }
            });
    }
});

/** What an update did to each machine, a line each. */
function rolled(before: Running, after: Running): string[] {
    return Object.keys({ ...before, ...after }).map((name) => {
        const [old, now] = [before[name], after[name]];
        if (!old || !now) return `${name}: ${now ? "new" : "removed"}`;
        if (old.incarnation !== now.incarnation) return `${name}: replaced`;
        const names = Object.keys({ ...old.services, ...now.services });
        const restarted = names.filter((service) => old.services[service] !== now.services[service]);
        return `${name}: ${restarted.length > 0 ? `${restarted.join(", ")} restarted` : "untouched"}`;
    });
}
