import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { engineProcesses, engineScope } from "../../engine/processes";
import { request } from "../../lib/http";
import { signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { killMachine, readStatus, stopMachine } from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { type JournalEntry, readJournal } from "../../replacement/journal";
import { renderEntry } from "../../replacement/report";
import { deploy, destroy, open } from "../../scripts/deploy";
import { toolPath } from "../../toolchain";

const NETWORK = "127.94.8";
const run = promisify(execFile);

describe("the replacement loop on this computer", function () {
    this.timeout(180_000);
    let home: string;
    let machines: string;
    const earlier = { ...process.env };
    const options = {
        say: () => undefined,
        signal: new AbortController().signal,
        overrides: {
            "gateway:local": { network: `${NETWORK}.0/24` },
            "gateway:discovery": { servers: 1 },
            "gateway:loadBalancer": { balancers: 1 },
        },
    };
    const directory = (name: string) => join(machines, name);
    const incarnation = (name: string) => readLiveRecord(directory(name))?.incarnation;
    const journal = () => readJournal(join(directory("replacer"), "lib", "journal.jsonl"));
    const since = (time: number): JournalEntry[] => journal().filter((entry) => entry.time > time);
    const now = () => Date.now() / 1000;
    const cli = (...argv: string[]) => run(process.execPath, ["--import", "tsx", "scripts/status.ts", ...argv]);
    const remote = (...argv: string[]) =>
        run(process.execPath, [
            ...["--import", "tsx", "loop.ts", ...argv, "--consul", `https://${NETWORK}.11:8501`],
            ...["--ca", join(directory("replacer"), "etc/replacer/ca.pem")],
            ...["--token", join(directory("replacer"), "etc/replacer/token")],
        ]);
    /** Waits until the loop has seen every gateway healthy, and nothing is in flight. */
    const whole = (after: number) =>
        waitFor(
            "the pool to be complete",
            () => {
                const last = since(after)
                    .filter((entry) => entry.kind === "decision")
                    .at(-1);
                if (last?.kind !== "decision") return false;
                const { slots, pool } = last.decision;
                const calm = pool.every(({ gate, passed }) => passed || gate === "budgetHour");
                return calm && slots.length === 2 && slots.every(({ condition }) => condition === "healthy");
            },
            90_000,
        );

    before(async function () {
        if (["pulumi", "consul", "consul-template", "haproxy"].some((tool) => !toolPath(tool as "pulumi"))) {
            console.log('      skipped: the tools are not installed ("npm run tools")');
            return this.skip();
        }
        home = mkdtempSync(join(tmpdir(), "gateway-loop-"));
        machines = join(home, "machines");
        process.env.GATEWAY_HOME = home;
        const start = now();
        await deploy(await open("local", options), options);
        await whole(start);
    });

    afterEach(function () {
        if (this.currentTest?.state !== "failed") return;
        for (const entry of journal().slice(-12)) console.log(renderEntry(entry)?.slice(0, 1500));
    });

    after(async () => {
        if (!home) return;
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("is elected at once, and reports its state", async () => {
        const elected = journal().filter((entry) => entry.kind === "leadership");
        assert.deepEqual(
            elected.map((entry) => entry.kind === "leadership" && entry.event.kind),
            ["elected"],
        );
        const health = await request({ url: `http://${NETWORK}.31:9195/health`, timeoutSeconds: 2 });
        assert.deepEqual([health.status, JSON.parse(health.body).role], [200, "leader"]);
        const { body } = await request({ url: `http://${NETWORK}.31:9195/metrics`, timeoutSeconds: 2 });
        assert.match(body, /^gateway_replacement_leader 1$/m);
        assert.match(body, /^gateway_replacement_slots\{condition="healthy"\} 2$/m);
    });

    it("answers commands from anywhere that reaches Consul", async () => {
        assert.match((await remote("status")).stdout, /gw-0 .* healthy .*\n.*gw-1/);
        assert.match(
            (await remote("explain", "--last", "20")).stdout,
            /the loop starts|decision: 2 of 2 servers healthy/,
        );
        assert.match((await remote("dry-run")).stdout, /pass {2}pool\.leftovers/);
        await remote("pause", "--reason", "a test");
        await assert.rejects(remote("replace", "gw-0"), /gw-0 was not replaced: paused by \w+: a test/);
        assert.match((await remote("status")).stdout, /paused +yes, by \w+ .*a test/);
        await remote("resume");
        await assert.rejects(remote("replace", "gw-9"), /unknown slot "gw-9"; known slots: gw-0, gw-1/);
    });

    it("replaces a healthy server on request, and applies all other rules", async () => {
        const [before, start] = [incarnation("gw-1"), now()];
        assert.match((await cli("replace", "gw-1", "--reason", "a test")).stdout, /gw-1 was replaced/);
        assert.notEqual(incarnation("gw-1"), before);
        // Its successor stays in flight for as long as it is not healthy.
        const pid = readStatus({ machines }, "gw-1")?.services.gateway?.pid;
        assert.ok(pid);
        process.kill(pid, "SIGSTOP");
        try {
            await assert.rejects(
                cli("replace", "gw-0"),
                /gw-0 was not replaced: .*(in flight|would be out of service)/,
            );
        } finally {
            signal(pid, "SIGCONT");
        }
        await whole(start);
    });

    const locked = () => {
        const locks = join(home, "state/.pulumi/locks/organization/gateway/local");
        return existsSync(locks) ? readdirSync(locks).filter((name) => name.endsWith(".json")) : [];
    };

    /** How far a replacement is, as seen from outside. */
    const moments: Record<string, (before: string | undefined) => boolean> = {
        "as its engine starts": () =>
            engineProcesses(engineScope("local", join(directory("replacer"), "lib", "session.json"))).length > 0,
        "as its engine locks the stack": () => locked().length > 0,
        "as the new machine starts": (before) => ![undefined, before].includes(incarnation("gw-0")),
    };
    for (const [when, reached] of Object.entries(moments)) {
        it(`continues where it was killed: ${when}`, async () => {
            const [before, start] = [incarnation("gw-0"), now()];
            const { taken } = await remembered();
            assert.ok(await killMachine({ machines }, "gw-0"));
            await waitFor("the moment", () => reached(before), 60_000, 2);
            const pid = readStatus({ machines }, "replacer")?.services.replacer?.pid;
            assert.ok(pid);
            process.kill(pid, "SIGKILL");
            await waitFor("the next one to lead", () => starts(start) > 0, 60_000);
            await whole(start);
            assert.notEqual(incarnation("gw-0"), before);
            // Every run that started has used its part of the budget. No lock and no engine is left.
            const begun = (await remembered()).taken.length - taken.length;
            assert.ok(begun >= 1 && begun <= 2, `${begun} replacements`);
            await waitFor(
                "the engines to end",
                () =>
                    engineProcesses(engineScope("local", join(directory("replacer"), "lib", "session.json"))).length ===
                    0,
                30_000,
            );
            assert.deepEqual(locked(), []);
        });
    }

    it("leaves nothing behind when it is removed", async () => {
        await destroy(await open("local", options), options);
        assert.deepEqual(machineNames(machines), []);
    });

    const starts = (after: number) => since(after).filter(({ kind }) => kind === "start").length;

    async function remembered() {
        // Exit code 2 says that something is not healthy.
        const { stdout } = await remote("status", "--json").catch((error: { code: number; stdout: string }) => {
            assert.equal(error.code, 2);
            return error;
        });
        const { snapshot } = JSON.parse(stdout);
        return snapshot.decision.memory as { readonly taken: readonly number[] };
    }
});
