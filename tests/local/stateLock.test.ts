/** The engine's lock that a run left behind, or that another computer holds. */
import * as assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { UserError } from "../../engine/stack";
import { machineId } from "../../lib/locks";
import { deploy, open } from "../../scripts/deploy";
import { toolPath } from "../../toolchain";
import { makeProject, type Project } from "./support/project";

describe("a lock on the stack's state", function () {
    this.timeout(180_000);
    let project: Project;
    const earlier = { ...process.env };
    const said: string[] = [];
    const options = () => ({
        say: (line: string) => said.push(line),
        signal: new AbortController().signal,
        project: project.folder,
        // More tries than Node allows listeners without a warning.
        lockTimeout: 25_000,
    });
    const up = async () => deploy(await open("dev", options()), options());
    const file = () => join(project.home, "state/.pulumi/locks/organization/small/dev/left.json");
    const lock = (host: string, pid: number) => {
        mkdirSync(join(file(), ".."), { recursive: true });
        const timestamp = "2026-01-02T03:04:05Z";
        writeFileSync(file(), JSON.stringify({ pid, username: "ann", hostname: host, timestamp }));
    };

    before(async function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        project = makeProject("export = async () => ({ a: 1 });");
        process.env.GATEWAY_HOME = project.home;
        for (const name of ["PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
            delete process.env[name];
        await up();
    });
    after(() => {
        project?.remove();
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("is removed when another process has the pid of its owner, or its owner is dead", async () => {
        for (const pid of [process.pid, 2 ** 22 + 1]) {
            lock(hostname(), pid);
            await up();
            assert.equal(existsSync(file()), false);
        }
    });

    it("is removed when it bears a name that this computer had", async () => {
        const names = JSON.stringify({ [machineId()]: ["old-name"] });
        writeFileSync(join(project.home, "state/gateway-computers.json"), names);
        lock("old-name", process.pid);
        await up();
        assert.equal(existsSync(file()), false);
    });

    it("of another computer stays: the message says who, since when, and what ends it, and Node does not warn", async () => {
        const warnings: Error[] = [];
        const onWarning = (warning: Error) => warnings.push(warning);
        process.on("warning", onWarning);
        lock("another-computer", 4711);
        said.length = 0;
        try {
            await assert.rejects(up(), (error: Error) => {
                assert.ok(error instanceof UserError);
                assert.match(
                    error.message,
                    /^Another run still uses this stack: process 4711 of ann on another-computer, since 2026-01-02T03:04:05Z; that is not this/,
                );
                assert.match(error.message, /pulumi cancel --yes --stack dev$/);
                return true;
            });
        } finally {
            process.off("warning", onWarning);
        }
        assert.ok(existsSync(file()));
        assert.equal(said.filter((line) => line.includes("process 4711 of ann on another-computer")).length, 1);
        assert.deepEqual(
            warnings.map(({ name }) => name),
            [],
        );
    });
});
