/** Which file a `pulumi` command runs: with the SDK's own resolution, as Pulumi's language host calls it. */
import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";

const CHECKOUT = resolve(__dirname, "../..");
const SDK = join(CHECKOUT, "node_modules/@pulumi/pulumi");

/**
 * Prints the first module that is loaded from the project itself, instead of loading it. There is no engine, so the SDK must not
 * register the stack before that.
 */
const HOOK = `
require(process.env.SDK + "/runtime/stack").runInPulumiStack = (run) => run();
const Module = require("node:module");
const load = Module._load;
Module._load = function (request, ...rest) {
    if (request.startsWith(process.env.PROJECT) && !request.includes("node_modules")) {
        process.stdout.write(Module._resolveFilename(request, ...rest));
        process.removeAllListeners("exit");
        process.exit(0);
    }
    return load.call(this, request, ...rest);
};
`;

/** The program's folder and entry point as the language host takes them from `Pulumi.yaml`. */
function entryPoint(project: string): { readonly pwd: string; readonly entry: string } {
    const { main } = parse(readFileSync(join(project, "Pulumi.yaml"), "utf8")) as { main?: string };
    if (main === undefined) return { pwd: project, entry: "." };
    const path = join(project, main);
    return statSync(path).isDirectory()
        ? { pwd: path, entry: "." }
        : { pwd: dirname(path), entry: relative(dirname(path), path) };
}

describe("a pulumi command by hand", function () {
    this.timeout(30_000);
    let folder: string;
    before(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-entry-"));
        writeFileSync(join(folder, "hook.cjs"), HOOK);
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    for (const project of [".", "examples/two-pools"]) {
        it(`runs index.ts of ${project === "." ? "this project" : project}, not what its package exports`, async () => {
            const root = resolve(CHECKOUT, project);
            const { pwd, entry } = entryPoint(root);
            const { stdout } = await promisify(execFile)(
                process.execPath,
                [
                    "--import=tsx",
                    `--require=${join(folder, "hook.cjs")}`,
                    join(SDK, "cmd/run"),
                    // Nothing is registered, so nothing has to listen there.
                    ...[
                        "--monitor=127.0.0.1:1",
                        "--engine=127.0.0.1:1",
                        "--project=p",
                        "--stack=s",
                        `--pwd=${pwd}`,
                        entry,
                    ],
                ],
                { cwd: root, env: { ...process.env, SDK, PROJECT: root, PULUMI_NODEJS_TYPESCRIPT: "false" } },
            );
            assert.equal(stdout, join(root, "index.ts"));
        });
    }
});
