import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { toolPath } from "../../toolchain";

const run = promisify(execFile);
const project = join(__dirname, "../..");

describe("the pipeline's steps on a command line", function () {
    this.timeout(120_000);
    let home: string;

    before(function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        home = mkdtempSync(join(tmpdir(), "gateway-pipeline-"));
    });
    after(() => {
        if (home) rmSync(home, { recursive: true, force: true });
    });

    /** Runs one of the scripts with a separate state. */
    const script = (name: string, ...args: string[]) =>
        run(join(project, "scripts/ci", name), args, {
            // From another folder, because a caller may be anywhere.
            cwd: home,
            env: { ...process.env, GATEWAY_HOME: join(home, "gateway") },
        });

    it("previews a stack with the real engine, and writes a comment", async () => {
        const committed = readFileSync(join(project, "Pulumi.local.yaml"), "utf8");
        const { stdout } = await script("preview.sh", "local", "report.md");
        assert.match(stdout, /would create local-pool-1/);
        const report = readFileSync(join(home, "report.md"), "utf8");
        assert.match(report, /^### Preview of `local`\n\n\*\*Changes:\*\* \d+ to create\n/);
        assert.match(report, /would create local-pool-1/);
        // It deploys nothing, and leaves the checkout as it was.
        assert.ok(!existsSync(join(home, "gateway", "machines")));
        assert.equal(readFileSync(join(project, "Pulumi.local.yaml"), "utf8"), committed);
    });

    it("fails if the stack does not exist", async () => {
        await assert.rejects(script("preview.sh", "nowhere"), /There is no Pulumi\.nowhere\.yaml/);
    });
});
