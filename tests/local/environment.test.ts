/** `npm run env`: what it says, and what a shell gets from it. */
import * as assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { toolPath, versions } from "../../toolchain";
import { ended } from "./support/project";

const CHECKOUT = join(__dirname, "../..");

describe("npm run env", function () {
    this.timeout(60_000);
    let folder: string;
    before(function () {
        if (!toolPath("pulumi")) {
            console.log('      skipped: Pulumi is not installed ("npm run tools")');
            this.skip();
        }
        folder = mkdtempSync(join(tmpdir(), "gateway-env-"));
    });
    after(() => folder && rmSync(folder, { recursive: true, force: true }));

    /** A PATH without a language host, except that in `folder` when it is there. */
    const path = () => {
        const others = (process.env.PATH ?? "")
            .split(delimiter)
            .filter((each) => !existsSync(join(each, "pulumi-language-nodejs")));
        return [folder, ...others].join(delimiter);
    };
    const env = (environment: Readonly<Record<string, string | undefined>> = {}) =>
        ended([process.execPath, "--import=tsx", join(CHECKOUT, "scripts/env.ts"), "local"], CHECKOUT, {
            GATEWAY_HOME: join(folder, "home"),
            PULUMI_BACKEND_URL: undefined,
            PULUMI_CONFIG_PASSPHRASE: undefined,
            PULUMI_CONFIG_PASSPHRASE_FILE: undefined,
            PATH: path(),
            ...environment,
        });

    it("says that pulumi up fails without a language host, and nothing when there is one", async () => {
        const { code, stdout, output } = await env();
        assert.equal(code, 0, output);
        const note = output.replace(stdout, "");
        // The official distribution has one.
        if (!(await hasLanguageHost(stdout))) {
            assert.match(note, /has no language host for Node\.js/);
            assert.ok(note.includes(`pulumi-language-nodejs ${versions.pulumi}`), note);
        }
        writeFileSync(join(folder, "pulumi-language-nodejs"), "#!/bin/sh\n", { mode: 0o755 });
        assert.doesNotMatch((await env()).output, /language host/);
    });

    it("takes variables away that would go before the passphrase that the commands use", async () => {
        const shell = async (environment: Readonly<Record<string, string>>) => {
            const { code, stdout, output } = await env(environment);
            assert.equal(code, 0, output);
            const show = `eval "$1"; echo "\${PULUMI_CONFIG_PASSPHRASE-unset}|\${PULUMI_CONFIG_PASSPHRASE_FILE-unset}"`;
            return (await ended(["sh", "-c", show, "sh", stdout], CHECKOUT, environment)).stdout.trim();
        };
        const own = join(folder, "home/passphrase");
        assert.equal(await shell({ PULUMI_CONFIG_PASSPHRASE: "" }), `unset|${own}`);
        assert.equal(await shell({ PULUMI_CONFIG_PASSPHRASE: "", PULUMI_CONFIG_PASSPHRASE_FILE: "" }), `unset|${own}`);
    });

    async function hasLanguageHost(exports: string): Promise<boolean> {
        const { code } = await ended(
            ["sh", "-c", 'eval "$1"; command -v pulumi-language-nodejs', "sh", exports],
            CHECKOUT,
            {
                PATH: path(),
            },
        );
        return code === 0;
    }
});
