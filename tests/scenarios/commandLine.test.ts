/** `pulumi` by hand, with the environment of `npm run env`: the same program and state as with `npm start`. */
import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { engineEnvironment, openStack } from "../../engine/stack";
import { stopMachine } from "../../programs/supervisor/machine";
import { machineNames } from "../../programs/supervisor/record";
import { isChange, open, preview } from "../../scripts/deploy";
import { toolPath } from "../../toolchain";
import { findOnPath } from "../../toolchain/processes";

const run = promisify(execFile);

describe("Pulumi's command line", function () {
    this.timeout(180_000);
    let home: string;
    let machines: string;
    /** The CLI writes its encryption salt into it, and may reformat the rest. */
    const stackFile = resolve(__dirname, "../../Pulumi.local.yaml");
    const committed = readFileSync(stackFile);
    const earlier = { ...process.env };
    const overrides = {
        "gateway:local": { network: "127.94.9.0/24" },
        "gateway:discovery": { servers: 1 },
        "gateway:loadBalancer": { balancers: 1 },
        "gateway:consulObjects": false,
    };
    const options = { say: () => undefined, overrides, signal: new AbortController().signal };

    /** Runs `pulumi` as a person would. @returns its output. */
    const pulumi = async (...args: string[]): Promise<string> => {
        const { stdout } = await run(toolPath("pulumi") ?? "", [...args, "--stack=local", "--non-interactive"], {
            env: { ...process.env, ...engineEnvironment("local", { overrides }) },
        });
        return stdout;
    };

    before(function () {
        const missing = [
            ...(["pulumi", "consul", "consul-template", "haproxy"] as const).filter((tool) => !toolPath(tool)),
            // Part of the official distribution, but not of a CLI that was built from its Go module.
            ...["pulumi-language-nodejs"].filter((name) => !findOnPath(name)),
        ];
        if (missing.length > 0) {
            console.log(`      skipped: not installed: ${missing.join(", ")}`);
            this.skip();
        }
        home = mkdtempSync(join(tmpdir(), "gateway-cli-"));
        machines = join(home, "machines");
        process.env.GATEWAY_HOME = home;
    });

    after(async () => {
        if (!home) return;
        writeFileSync(stackFile, committed);
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    it("deploys, finds no change afterwards, as npm start finds none, and removes the deployment", async () => {
        await openStack("local", { overrides });
        await pulumi("up", "--yes", "--skip-preview");
        assert.deepEqual(machineNames(machines), ["consul-0", "gw-0", "gw-1", "lb-0", "replacer"]);
        assert.equal(isChange(await preview(await open("local", options), options)), false);
        await pulumi("preview", "--expect-no-changes");
        await pulumi("destroy", "--yes", "--skip-preview");
        assert.deepEqual(machineNames(machines), []);
    });
});
