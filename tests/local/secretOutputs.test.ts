/** What `npm run up`, and `pulumi up` by hand, print of secret outputs. */
import * as assert from "node:assert/strict";
import { toolPath } from "../../toolchain";
import { findOnPath } from "../../toolchain/processes";
import { ended, makeProject, type Project } from "./support/project";

const SECRET = "s3cr3t-value";
const PROGRAM = `
import * as pulumi from "@pulumi/pulumi";
export = async () => ({
    plain: "seen",
    whole: pulumi.secret("${SECRET}-1"),
    object: { address: "127.0.0.1", token: pulumi.secret("${SECRET}-2"), list: [{ key: pulumi.secret("${SECRET}-3") }] },
});
`;

describe("secret outputs", function () {
    this.timeout(120_000);
    let project: Project;
    before(function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        project = makeProject(PROGRAM);
    });
    after(() => project?.remove());

    const options = () => ["dev", "--project", project.folder];

    it("are not printed by npm run up, however deep in an output they are", async () => {
        const { code, output } = await project.command("up", options());
        assert.equal(code, 0, output);
        assert.match(output, /^plain: "seen"$/m);
        assert.match(output, /^whole: \[secret\]$/m);
        assert.match(output, /"address": "127\.0\.0\.1"/);
        assert.doesNotMatch(output, new RegExp(SECRET));
    });

    it("are printed with --show-secrets", async () => {
        const { code, output } = await project.command("up", [...options(), "--show-secrets"]);
        assert.equal(code, 0, output);
        for (const index of [1, 2, 3]) assert.match(output, new RegExp(`"${SECRET}-${index}"`));
    });

    it("are not printed by pulumi up and pulumi stack output", async function () {
        if (!findOnPath("pulumi-language-nodejs")) {
            console.log("      skipped: no language host is on PATH");
            this.skip();
        }
        const environment = {
            GATEWAY_HOME: project.home,
            PULUMI_BACKEND_URL: `file://${project.home}/state`,
            PULUMI_CONFIG_PASSPHRASE: undefined,
            PULUMI_CONFIG_PASSPHRASE_FILE: `${project.home}/passphrase`,
            PULUMI_OPTION_CONFIG_FILE: `${project.home}/Pulumi.dev.yaml`,
        };
        for (const args of [
            ["up", "--yes", "--skip-preview"],
            ["stack", "output"],
            ["stack", "output", "--json"],
        ]) {
            const { code, output } = await ended(
                [toolPath("pulumi") ?? "", ...args, "--stack=dev", "--non-interactive"],
                project.folder,
                environment,
            );
            assert.equal(code, 0, output);
            assert.match(output, /seen/);
            assert.doesNotMatch(output, new RegExp(SECRET));
        }
    });
});
