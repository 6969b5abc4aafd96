import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { moduleLoader } from "../../components/dynamic/moduleProvider";
import { packageLoader, SourceBundles } from "../../toolchain/bundles";
import { deployed } from "../../toolchain/deployed";

describe("the replacement loop as one file", () => {
    const earlier = process.env.GATEWAY_HOME;
    let home: string;

    before(() => {
        home = mkdtempSync(join(tmpdir(), "gateway-bundle-"));
        process.env.GATEWAY_HOME = home;
    });

    after(() => {
        if (earlier === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlier;
        rmSync(home, { recursive: true, force: true });
    });

    it("starts the loop, and no other program of which it holds a part", function () {
        this.timeout(60_000);
        const { status, stdout, stderr } = spawnSync(
            process.execPath,
            [join(home, "bundles", new SourceBundles().bundle("replacer").file), "daemon"],
            { encoding: "utf8", env: { PATH: process.env.PATH } },
        );
        assert.deepEqual([status, stdout, stderr], [1, "", "--config is missing: the daemon's settings\n"]);
    });

    describe("compiled for this computer", () => {
        /** Runs code in a folder without sources, and parses what it prints. */
        const run = (code: string, argv: readonly string[] = []) => {
            const text = `process.argv = ${JSON.stringify([process.execPath, "program", ...argv])};${code}`;
            const { stdout, stderr } = spawnSync(process.execPath, ["--eval", text], {
                encoding: "utf8",
                cwd: home,
                env: { PATH: process.env.PATH, GATEWAY_HOME: home },
            });
            return { stdout, stderr };
        };
        /** Loads a compiled loop as its launcher does. */
        const load = (file: string, program: string) => `
            const packages = require("node:module").createRequire(${JSON.stringify(join(resolve(program), "package.json"))});
            globalThis.${packageLoader} = packages;
            const loop = require(${JSON.stringify(join(home, "bundles", file))});`;

        it("runs without a compiler, whichever package its program is in", function () {
            this.timeout(60_000);
            for (const program of [".", "examples/two-pools"]) {
                const { file } = new SourceBundles(resolve(program)).loopProgram();
                const code = `${load(file, program)}
                    loop.main().then(() => {
                        const loaded = Object.keys(require.cache);
                        const compilers = loaded.filter((path) => /node_modules.(tsx|esbuild)/.test(path));
                        console.log(JSON.stringify([process.exitCode, compilers, loaded.length > 1]));
                    });`;
                const told = run(code, ["daemon"]);
                assert.equal(told.stderr, "--config is missing: the daemon's settings\n", program);
                assert.deepEqual(JSON.parse(told.stdout), [1, [], true], program);
            }
        });

        it("knows every program as it was deployed, itself included, and passes that on to what it starts", () => {
            const loop = new SourceBundles().loopProgram();
            const { stdout } = run(`${load(loop.file, ".")} console.log(process.env.GATEWAY_DEPLOYED_BUNDLES);`);
            const supervisor = new SourceBundles().bundle("supervisor");
            process.env.GATEWAY_DEPLOYED_BUNDLES = stdout.replace(supervisor.sha256, "as deployed");
            try {
                assert.deepEqual(new SourceBundles().loopProgram(), loop);
                assert.equal(new SourceBundles().bundle("supervisor").sha256, "as deployed");
                assert.equal(Object.keys(deployed("bundles") ?? {}).includes("gateway-sample"), true);
            } finally {
                delete process.env.GATEWAY_DEPLOYED_BUNDLES;
            }
        });

        it("changes with the programs that it deploys", () => {
            const before = new SourceBundles().loopProgram();
            const bundles = new SourceBundles();
            const changed = Object.assign(Object.create(bundles), {
                bundle: (name: "supervisor") => ({ ...bundles.bundle(name), sha256: "another" }),
            }) as SourceBundles;
            assert.notEqual(changed.loopProgram().sha256, before.sha256);
        });

        it("starts an engine whose own resources are served by one file", function () {
            this.timeout(60_000);
            const { stdout } = run(
                `${load(new SourceBundles().loopProgram().file, ".")} console.log(process.env.GATEWAY_DEPLOYED_BUNDLES);`,
            );
            const provider = JSON.parse(stdout)["pulumi-resource-pulumi-nodejs"];
            const told = run(
                `require(${JSON.stringify(join(home, "bundles", provider.file))});
                const read = (key) => globalThis.${moduleLoader}(key).read("nobody/0", { machine: { name: "nobody" } });
                const keys = ["local-instance", "credentials", "aws-readiness", "openstack-readiness"];
                Promise.all(keys.map(read)).then((found) => {
                    console.error(JSON.stringify(found.map(({ id }) => id ?? "gone")));
                    process.exit();
                });`,
                ["127.0.0.1:1"],
            );
            assert.match(told.stderr, /^\["gone","nobody\/0","nobody\/0","nobody\/0"\]$/m);
        });
    });
});
