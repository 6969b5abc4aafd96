/** Every way that the passphrase of a state can be found or missing, with the real engine. */
import * as assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toolPath } from "../../toolchain";
import { makeProject, type Project } from "./support/project";

const PROGRAM = `
import * as pulumi from "@pulumi/pulumi";
export = async () => ({ secret: pulumi.secret("x") });
`;

describe("the passphrase of the state", function () {
    this.timeout(120_000);
    let project: Project;
    let restore: () => void;
    const run = (name: string, environment = {}) =>
        project.command(name, ["dev", "--project", project.folder], environment);
    const passphrase = () => join(project.home, "passphrase");
    const effective = () => join(project.home, "Pulumi.dev.yaml");
    const state = () => join(project.home, "state/.pulumi/stacks/small/dev.json");
    const file = (name: string, text: string) => {
        const path = join(project.folder, name);
        writeFileSync(path, text, { mode: 0o600 });
        return path;
    };
    const works = async (name: string, environment = {}) => {
        const { code, output } = await run(name, environment);
        assert.equal(code, 0, output);
        return output;
    };
    const fails = async (name: string, message: RegExp, environment = {}) => {
        const { code, output } = await run(name, environment);
        assert.equal(code, 1, output);
        assert.match(output, message);
        assert.doesNotMatch(output, /\n {4}at |CommandError/, "no stack trace");
        return output;
    };

    before(async function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        project = makeProject(PROGRAM);
        // An exported variable that is empty is not a passphrase.
        await works("up", { PULUMI_CONFIG_PASSPHRASE: "", PULUMI_CONFIG_PASSPHRASE_FILE: "" });
        restore = project.save();
    });
    afterEach(() => restore?.());
    after(() => project?.remove());

    it("is in the home folder's file also when a variable is empty, so that the loop, which gets the file, finds it", async () => {
        assert.match(await works("preview"), /no changes/);
        assert.match(await works("preview", { PULUMI_CONFIG_PASSPHRASE_FILE: passphrase() }), /no changes/);
        const value = readFileSync(passphrase(), "utf8");
        assert.match(await works("preview", { PULUMI_CONFIG_PASSPHRASE: value }), /no changes/);
        // The value goes before the file.
        const wrong = file("wrong", "wrong\n");
        const both = { PULUMI_CONFIG_PASSPHRASE: value, PULUMI_CONFIG_PASSPHRASE_FILE: wrong };
        assert.match(await works("preview", both), /no changes/);
    });

    it("that is another one: each command says where it took it from, and the rule", async () => {
        writeFileSync(passphrase(), "another");
        for (const name of ["preview", "up", "destroy"]) {
            const output = await fails(name, /The state of stack dev.* cannot be read with the passphrase in /);
            assert.ok(output.includes(passphrase()), output);
            assert.match(
                output,
                /Every command takes the passphrase from PULUMI_CONFIG_PASSPHRASE, or else from the file/,
            );
        }
        const path = file("wrong", "wrong\n");
        await fails("preview", /with the passphrase in .*wrong, which PULUMI_CONFIG_PASSPHRASE_FILE names/, {
            PULUMI_CONFIG_PASSPHRASE_FILE: path,
        });
        await fails("preview", /with the passphrase in the variable PULUMI_CONFIG_PASSPHRASE/, {
            PULUMI_CONFIG_PASSPHRASE: "wrong",
        });
    });

    it("that is lost, or empty, is not made anew while there is a state", async () => {
        rmSync(passphrase());
        await fails("up", /The passphrase of the stack's secrets is missing: .*passphrase does not exist/);
        assert.equal(existsSync(passphrase()), false);
        writeFileSync(passphrase(), "\n");
        await fails("up", /The passphrase in .*passphrase is missing: the file is empty/);
    });

    it("whose file, named by a variable, is not there, or no file, or empty", async () => {
        const folder = join(project.folder, "folder");
        mkdirSync(folder);
        for (const [path, message] of [
            [
                join(project.folder, "absent"),
                /absent, which PULUMI_CONFIG_PASSPHRASE_FILE names, cannot be read: ENOENT/,
            ],
            [folder, /cannot be read: EISDIR/],
            [file("empty", ""), /is missing: the file is empty/],
        ] as const) {
            await fails("preview", message, { PULUMI_CONFIG_PASSPHRASE_FILE: path });
        }
    });

    it("opens the state also when the salt beside it was lost or cut off", async () => {
        const text = readFileSync(effective(), "utf8");
        for (const damaged of [undefined, "", text.slice(0, 60), text.slice(0, text.indexOf("v1:") + 1)]) {
            if (damaged === undefined) rmSync(effective());
            else writeFileSync(effective(), damaged);
            assert.match(await works("preview"), /no changes/);
        }
    });

    it("a state that was cut off: the message says so, and where its last version is", async () => {
        writeFileSync(state(), readFileSync(state(), "utf8").slice(0, 300));
        await fails("up", /The state of stack dev is damaged .*dev\.json\.bak\. Copy it over/);
        writeFileSync(state(), readFileSync(`${state()}.bak`));
        await works("up");
    });

    it("a state that was lost together with its passphrase begins anew", async () => {
        rmSync(passphrase());
        rmSync(join(project.home, "state"), { recursive: true });
        await works("up");
        assert.match(await works("preview"), /no changes/);
    });
});
