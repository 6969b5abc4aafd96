/** Which Node runs what: the project's scripts, the machines of this computer, and those of a cloud. */
import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { minVersion, satisfies } from "semver";
import { cachedNode, checkedNode, installedNode, nodeExecutable, pinnedNode } from "../../toolchain/node";

const project = resolve(__dirname, "../..");
const json = (path: string) => JSON.parse(readFileSync(join(project, path), "utf8"));

/** A package of the lock file, as far as these tests look at it. */
interface Locked {
    readonly version?: string;
    readonly os?: string;
    readonly cpu?: string;
    readonly optional?: boolean;
    readonly engines?: { readonly node?: string };
    readonly resolved?: string;
}

describe("the pinned Node", () => {
    const { packages } = json("package-lock.json") as { packages: Record<string, Locked> };
    let directory: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "gateway-node-"));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    it("is an optional package for each platform, all of one exact version", () => {
        const { optionalDependencies } = json("package.json");
        for (const architecture of Object.keys(pinnedNode.sha256)) {
            const name = `node-linux-${architecture}`;
            assert.equal(optionalDependencies[name], pinnedNode.version, name);
            const locked = packages[`node_modules/${name}`];
            assert.deepEqual(
                [locked?.version, locked?.os, locked?.cpu, locked?.optional],
                [pinnedNode.version, "linux", architecture, true],
                `${name} in package-lock.json`,
            );
        }
    });

    it("has the checksum that is written down for this platform", function () {
        const node = installedNode();
        if (!node) return this.skip();
        assert.equal(checkedNode(node), node);
        assert.equal(execFileSync(node, ["--version"], { encoding: "utf8" }), `v${pinnedNode.version}\n`);
    });

    it("is asked for by name where there is none", () => {
        assert.throws(
            () => nodeExecutable("riscv64"),
            /Node is pinned for Linux on x64 and arm64; this is .* on riscv64/,
        );
        const other = process.arch === "arm64" ? "x64" : "arm64";
        if (!existsSync(join(project, `node_modules/node-linux-${other}`)))
            assert.throws(() => nodeExecutable(other), new RegExp(`node-linux-${other}, .*run "npm ci"`));
    });

    it("runs npm's scripts, whatever Node the operator has, and whether or not npm links it", function () {
        const { scripts } = json("package.json") as { scripts: Record<string, string> };
        const own = "scripts/with-node ";
        const others = Object.keys(scripts).filter((name) => !scripts[name]?.startsWith(own));
        // It runs the Thrift compiler, and no Node.
        assert.deepEqual(others, ["generate"]);
        if (!installedNode()) return this.skip();
        writeFileSync(join(directory, "node"), "#!/bin/sh\nexit 1\n");
        chmodSync(join(directory, "node"), 0o755);
        const PATH = [directory, ...(process.env.PATH ?? "").split(delimiter)].join(delimiter);
        const which = (...command: string[]) =>
            execFileSync("sh", ["-c", [...command, "command -v node"].join(" ")], {
                cwd: project,
                env: { ...process.env, PATH },
                encoding: "utf8",
            }).trim();
        assert.equal(which(), join(directory, "node"));
        assert.equal(which(own, "sh -c", "'command -v node'", "#"), nodeExecutable());
    });

    it("is kept for machines outside of node_modules, and it runs from there", function () {
        if (!installedNode()) return this.skip();
        const path = cachedNode(directory);
        assert.equal(path, cachedNode(directory));
        assert.ok(path.startsWith(directory));
        assert.equal(execFileSync(path, ["--version"], { encoding: "utf8" }), `v${pinnedNode.version}\n`);
    });

    it("is not taken with another checksum", () => {
        const path = join(directory, "node");
        writeFileSync(path, "other");
        assert.throws(() => checkedNode(path, "x64"), /is not Node .* for x64: its SHA-256 is d9298a10d1b/);
    });

    /** npm warns of each package whose `engines` do not include the Node that runs npm: a false alarm here. */
    it("is the only one that packages are judged by: npm has nothing to warn of on the oldest Node that may run it", () => {
        const oldest = minVersion(json("package.json").engines.node)?.version ?? "";
        const wanting = Object.entries(packages)
            .filter(([, { engines }]) => engines?.node !== undefined && !satisfies(oldest, engines.node))
            .map(([path]) => path);
        assert.deepEqual(
            wanting,
            [],
            `the lock file asks for a newer Node than ${oldest}, though scripts run the pinned one: run "npm run lockfile"`,
        );
    });

    it("is new enough for every package that is installed", () => {
        const unfit = Object.keys(packages)
            .filter((path) => path !== "" && existsSync(join(project, path, "package.json")))
            .filter((path) => {
                const wanted = json(join(path, "package.json")).engines?.node;
                return wanted !== undefined && !satisfies(pinnedNode.version, wanted);
            });
        assert.deepEqual(unfit, []);
    });

    it("comes from whatever registry npm uses: the lock file names none", () => {
        const named = Object.entries(packages).filter(([, { resolved = "" }]) => resolved.includes("://"));
        assert.deepEqual(named, []);
    });
});
