import * as assert from "node:assert";
import { type ChildProcess, spawn } from "node:child_process";
import * as crypto from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { strToU8, zipSync } from "fflate";
import * as tar from "tar";
import { isAlive, thisProcess } from "../../lib/processes";
import { ensurePlugin, pluginAvailable, pluginVersion, versions } from "../../toolchain";
import { commitEntry, keyOf, lookUp, requireFreeSpace, temporaryDirectory } from "../../toolchain/cache";
import { proxyFor } from "../../toolchain/download";
import { reasonOf, SourceError, ToolError } from "../../toolchain/errors";
import { installTool } from "../../toolchain/install";
import { atLeast, type GoSource, type Source, type ToolName, type ToolSpec, tools } from "../../toolchain/manifest";
import { findOnPath, run } from "../../toolchain/processes";
import { FAKE_EXECUTABLE, fakeOfficial, fakeSpec } from "./fixtures/fakeTool";

const ARCHIVE = "/faketool/faketool.zip";
const QUICK = { connectMs: 300, stallMs: 300, retryMs: 10 };

const zip = (content: string) => Buffer.from(zipSync({ faketool: strToU8(content), "LICENSE.txt": strToU8("x") }));
const sha256 = (content: Buffer) => crypto.createHash("sha256").update(content).digest("hex");
const ARCHIVE_CONTENT = zip(FAKE_EXECUTABLE);
const ARCHIVE_SHA256 = sha256(ARCHIVE_CONTENT);

/** Waits until a condition holds, for at most 8 s. */
async function until(condition: () => boolean, what: string): Promise<void> {
    for (const end = Date.now() + 8_000; !condition(); await delay(10))
        if (Date.now() > end) assert.fail(`waited in vain until ${what}`);
}

describe("tools", () => {
    let directory: string;
    let root: string;
    let environment: NodeJS.ProcessEnv;
    let server: http.Server;
    /** What the vendor's site does with a request, by path. */
    let routes: Record<string, http.RequestListener>;
    let requests: string[];
    let lines: string[];
    /** A server that takes connections and never says anything. */
    let hole: net.Server | undefined;
    const holeSockets: net.Socket[] = [];
    const children: ChildProcess[] = [];

    beforeEach(async () => {
        directory = fs.mkdtempSync(path.join(os.tmpdir(), "tools-test-"));
        root = path.join(directory, "cache");
        environment = { ...process.env };
        for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"])
            delete process.env[name];
        routes = { [ARCHIVE]: (_, response) => response.end(ARCHIVE_CONTENT) };
        requests = [];
        lines = [];
        server = http.createServer((request, response) => {
            requests.push(request.url ?? "");
            const route = routes[request.url ?? ""];
            if (route) route(request, response);
            else response.writeHead(404).end();
        });
        await once(server.listen(0, "127.0.0.1"), "listening");
        process.env.GATEWAY_TOOLS = root;
        process.env.GATEWAY_TOOLS_MIRROR = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
        process.env.PULUMI_HOME = path.join(directory, "pulumi");
    });

    afterEach(async () => {
        for (const child of children.splice(0)) {
            if (child.exitCode !== null || child.signalCode !== null) continue;
            child.kill("SIGKILL");
            await once(child, "exit");
        }
        for (const socket of holeSockets.splice(0)) socket.destroy();
        hole?.close();
        hole = undefined;
        server.closeAllConnections();
        server.close();
        for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
        Object.assign(process.env, environment);
        fs.rmSync(directory, { recursive: true, force: true });
    });

    const install = (spec: ToolSpec, more: { signal?: AbortSignal; unreachable?: Map<string, string> } = {}) =>
        installTool(spec, { progress: (line) => lines.push(line), root, deadlines: QUICK, ...more });

    const official = (...sources: Source[]) =>
        fakeSpec({ sources: sources.length > 0 ? sources : [fakeOfficial({ sha256: ARCHIVE_SHA256 })] });

    /** The message of the ToolError that an installation must fail with. */
    async function failure(spec: ToolSpec, more: Parameters<typeof install>[1] = {}): Promise<string> {
        const error = await install(spec, more).then(
            () => assert.fail("it was installed"),
            (thrown) => thrown,
        );
        assert.ok(error instanceof ToolError, String(error?.stack));
        return error.message;
    }

    /** An executable script below the test's directory. */
    function script(name: string, content: string): string {
        const file = path.join(directory, name);
        fs.mkdirSync(path.dirname(file), { recursive: true });
        fs.writeFileSync(file, `#!/bin/sh\n${content}\n`, { mode: 0o755 });
        return file;
    }

    /** Nothing unfinished and no lock is left in the cache. */
    function assertTidy(): void {
        assert.deepStrictEqual(fs.readdirSync(path.join(root, ".tmp")), []);
        assert.strictEqual(fs.existsSync(path.join(root, "faketool", ".lock")), false);
    }

    describe("manifest", () => {
        it("pins or can look up the checksum of each official archive, of the version it names", () => {
            for (const name of Object.keys(tools) as ToolName[]) {
                for (const source of tools[name].sources) {
                    if (source.kind !== "official") continue;
                    assert.ok(source.url.startsWith("https://") && source.url.includes(versions[name]), source.url);
                    if (source.sha256 === undefined) assert.ok((source.sumsUrls ?? []).length > 0, name);
                    else assert.match(source.sha256, /^[0-9a-f]{64}$/);
                }
            }
        });

        it("has wrapper modules that require the pinned versions", () => {
            for (const name of Object.keys(tools) as ToolName[]) {
                for (const source of tools[name].sources) {
                    if (source.kind !== "go") continue;
                    const module = fs.readFileSync(path.join(source.directory, "go.mod"), "utf8");
                    assert.match(module, new RegExp(`^require \\S+ v${versions[name].replaceAll(".", "\\.")}$`, "m"));
                    assert.ok(
                        fs.readFileSync(path.join(source.directory, "tools.go"), "utf8").includes(source.package),
                    );
                }
            }
        });

        it("reads the versions that the tools print", () => {
            const version = (name: ToolName, text: string) => tools[name].versionPattern.exec(text)?.[1];
            assert.strictEqual(version("pulumi", "v3.259.0\n"), "3.259.0");
            assert.strictEqual(version("consul", "Consul v1.22.0\nRevision 3e7b0e5\n"), "1.22.0");
            assert.strictEqual(version("consul", "Consul v1.22.0+ent\n"), "1.22.0+ent");
            assert.strictEqual(version("consul-template", "consul-template v0.41.1 (5dbdd8b)\n"), "0.41.1");
            assert.strictEqual(version("haproxy", "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - x\n"), "2.6.12");
            assert.strictEqual(version("haproxy", "HA-Proxy version 2.2.9-2 2021/04/24\n"), "2.2.9");
            assert.strictEqual(version("fabio", "1.6.3 go1.26.8\n"), "1.6.3");
            assert.strictEqual(version("serf", "0.10.2\nAgent Protocol: 5 (Understands back to: 2)\n"), "0.10.2");
            // What is built without Serf's flags does not know what it is.
            assert.ok(!tools.serf.accepts(version("serf", "0.8.2-dev\nAgent Protocol: 5\n") ?? ""));
            assert.ok(tools.serf.accepts("0.9.4"));
        });

        it("compares versions number by number", () => {
            assert.ok(atLeast("2.10", "2.6") && atLeast("2.6", "2.6") && atLeast("3.0-dev1", "2.6.9"));
            assert.ok(!atLeast("2.5.99", "2.6") && !atLeast("1.9", "1.21") && !atLeast("2", "2.0.1"));
        });
    });

    describe("official archives", () => {
        it("are downloaded, checked against the pinned sum, unpacked, and then come from the cache", async () => {
            const { executable, entry } = await install(official());
            assert.strictEqual(lookUp(official(), root)?.executable, executable);
            assert.strictEqual(entry.version, "1.2.3");
            assert.strictEqual(entry.sha256, ARCHIVE_SHA256);
            assert.strictEqual(entry.checkedAgainst, "pinned");
            assert.deepStrictEqual(fs.readdirSync(path.dirname(executable)), ["faketool"]);
            assert.ok(lines.some((line) => line.startsWith("Fake tool: downloading http://127.0.0.1")));
            await install(official());
            assert.deepStrictEqual(requests, [ARCHIVE]);
            assertTidy();
        });

        it("without a pinned sum are checked against the published one, from the first place that has it", async () => {
            const from = path.join(directory, "pack", "dist");
            fs.mkdirSync(from, { recursive: true });
            fs.writeFileSync(path.join(from, "faketool"), FAKE_EXECUTABLE, { mode: 0o644 });
            fs.writeFileSync(path.join(from, "faketool-a"), "theirs");
            fs.writeFileSync(path.join(from, "other"), "x");
            const file = path.join(directory, "faketool.tar.gz");
            await tar.create({ file, gzip: true, cwd: path.dirname(from) }, ["dist"]);
            const content = fs.readFileSync(file);
            routes["/faketool.tar.gz"] = (_, response) => response.end(content);
            routes["/SUMS"] = (_, response) =>
                response.end(`${"0".repeat(64)}  faketool.tar.gz.sig\n${sha256(content)}  faketool.tar.gz\n`);
            const source = fakeOfficial({
                url: "https://vendor.invalid/faketool.tar.gz",
                format: "tar.gz",
                sumsUrls: ["https://vendor.invalid/absent", "https://vendor.invalid/SUMS"],
            });
            const spec = fakeSpec({ sources: [source], companions: { "faketool-a": "ours", "faketool-b": "ours" } });

            const { executable, entry } = await install(spec);
            assert.strictEqual(entry.checkedAgainst, "published");
            assert.strictEqual(entry.sha256, sha256(content));
            const bin = path.dirname(executable);
            assert.deepStrictEqual(fs.readdirSync(bin).sort(), ["faketool", "faketool-a", "faketool-b"]);
            assert.strictEqual(fs.readFileSync(path.join(bin, "faketool-a"), "utf8"), "theirs");
            assert.strictEqual(fs.readFileSync(path.join(bin, "faketool-b"), "utf8"), "ours");
            fs.accessSync(path.join(bin, "faketool-b"), fs.constants.X_OK);
        });

        it("without any sum to be had are not used", async () => {
            const source = fakeOfficial({ sumsUrls: ["https://vendor.invalid/SUMS"] });
            routes["/SUMS"] = (_, response) => response.end(`${ARCHIVE_SHA256}  another.zip\n`);
            assert.match(await failure(official(source)), /checksum cannot be had: .*no SHA-256 of faketool\.zip/);
            assert.deepStrictEqual(requests, ["/SUMS"]);
        });

        it("with a wrong sum are removed, and the next source is taken", async () => {
            routes[ARCHIVE] = (_, response) => response.end(zip("#!/bin/sh\necho faketool v1.2.3 tampered\n"));
            const local = script("elsewhere/faketool", "echo faketool v1.2.3");
            const spec = official(fakeOfficial({ sha256: ARCHIVE_SHA256 }), { kind: "path", also: () => [local] });
            const { entry } = await install(spec);
            assert.strictEqual(entry.source, "path");
            assert.ok(lines.some((line) => /corrupt.*was expected; it was removed/.test(line)));
            assertTidy();
            assert.match(
                await failure(official()),
                /Could not get Fake tool 1\.2\.3.*corrupt: SHA-256 is .*To help: /s,
            );
        });

        it("that hold something else are not used, even with the right sum", async () => {
            for (const content of [zip("#!/bin/sh\necho faketool v1.2.4\n"), zip("not a program"), Buffer.from("x")]) {
                routes[ARCHIVE] = (_, response) => response.end(content);
                await failure(official(fakeOfficial({ sha256: sha256(content) })));
                assert.strictEqual(lookUp(official(), root), undefined);
                assertTidy();
            }
        });

        it("that are not there are not asked for again", async () => {
            routes = {};
            assert.match(await failure(official()), /127\.0\.0\.1:\d+ answered 404/);
            assert.deepStrictEqual(requests, [ARCHIVE]);
        });

        it("are asked for once more after an error that may pass", async () => {
            routes[ARCHIVE] = (_, response) => {
                if (requests.length === 1) response.writeHead(503).end();
                else response.end(ARCHIVE_CONTENT);
            };
            await install(official());
            routes[ARCHIVE] = (_, response) => {
                response.writeHead(200, { "content-length": ARCHIVE_CONTENT.length });
                response.write(ARCHIVE_CONTENT.subarray(0, 100), () => response.destroy());
            };
            fs.rmSync(root, { recursive: true });
            assert.match(await failure(official()), /the transfer from 127\.0\.0\.1:\d+ failed/);
            assert.strictEqual(requests.length, 4);
        });

        it("are given up when the server falls silent", async () => {
            routes[ARCHIVE] = (_, response) => {
                response.writeHead(200, { "content-length": ARCHIVE_CONTENT.length });
                response.write(ARCHIVE_CONTENT.subarray(0, 100));
            };
            assert.match(await failure(official()), /nothing was received within 0\.3 s/);
            assert.strictEqual(requests.length, 2);
            assertTidy();
        });

        it("are given up when there is no connection, and their host is not tried again in the same run", async () => {
            let connections = 0;
            hole = net.createServer((socket) => {
                connections++;
                socket.on("error", () => {});
                holeSockets.push(socket);
            });
            await once(hole.listen(0, "127.0.0.1"), "listening");
            process.env.GATEWAY_TOOLS_MIRROR = `https://127.0.0.1:${(hole.address() as net.AddressInfo).port}`;
            const unreachable = new Map<string, string>();
            assert.match(await failure(official(), { unreachable }), /no connection within 0\.3 s/);
            assert.match(await failure(official(), { unreachable }), /no connection within 0\.3 s/);
            assert.strictEqual(connections, 2);
        });

        it("are not begun without room on the disk", async () => {
            const spec = official(fakeOfficial({ sha256: ARCHIVE_SHA256, diskBytes: 1e18 }));
            assert.match(await failure(spec), /not enough disk space: \d+ MB free at .*, 1000000000000 MB needed/);
            assert.deepStrictEqual(requests, []);
        });
    });

    it("says that the disk is full when it becomes full", () => {
        const error = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        assert.match(reasonOf(error), /^the disk is full/);
        assert.match(reasonOf(new SourceError("x: write /tmp/y: no space left on device")), /^the disk is full/);
        assert.throws(() => requireFreeSpace(path.join(directory, "not", "yet"), 1e18), SourceError);
    });

    it("says so when the cache cannot be used", async () => {
        fs.writeFileSync(root, "a file");
        assert.match(await failure(official()), /the tool cache .* cannot be used: .*(ENOTDIR|EEXIST)/);
    });

    it("stops when asked to and leaves nothing behind", async () => {
        const stop = new AbortController();
        routes[ARCHIVE] = (_, response) => {
            response.write(ARCHIVE_CONTENT.subarray(0, 100));
            stop.abort(new Error("stopped by the test"));
        };
        await assert.rejects(install(official(), { signal: stop.signal }), /stopped by the test/);
        assertTidy();
        assert.strictEqual(requests.length, 1);
    });

    describe("cache", () => {
        it("does not take a truncated executable for an installed one", async () => {
            const { executable } = await install(official());
            fs.truncateSync(executable, 10);
            assert.strictEqual(lookUp(official(), root), undefined);
            await install(official());
            assert.strictEqual(fs.readFileSync(executable, "utf8"), FAKE_EXECUTABLE);
        });

        it("replaces an executable that does not run", async () => {
            const { executable } = await install(official());
            fs.writeFileSync(executable, Buffer.alloc(FAKE_EXECUTABLE.length));
            await install(official());
            assert.strictEqual(fs.readFileSync(executable, "utf8"), FAKE_EXECUTABLE);
            assert.ok(lines.some((line) => line.includes("removing the unusable cached version")));
            assertTidy();
        });

        it("does not use an entry whose pinned sum or version is another", async () => {
            await install(official());
            assert.strictEqual(lookUp(official(fakeOfficial({ sha256: "0".repeat(64) })), root), undefined);
            assert.strictEqual(lookUp({ ...official(), accepts: () => false }, root), undefined);
        });
    });

    describe("processes", () => {
        /** Installs the fake tool in another process; it hangs where the new executable is asked for its version. */
        function installElsewhere(hang: string): ChildProcess {
            const file = path.join(__dirname, "fixtures", "fakeTool.ts");
            const child = spawn(process.execPath, ["--import", "tsx", file, ARCHIVE_SHA256], {
                env: { ...process.env, FAKE_HANG: hang },
                stdio: ["ignore", "pipe", "ignore"],
            });
            children.push(child);
            return child;
        }

        it("killed before the end leave nothing that the next run trips over", async () => {
            const hang = path.join(directory, "hang");
            const child = installElsewhere(hang);
            await until(() => fs.existsSync(hang) && fs.readFileSync(hang, "utf8") !== "", "the other process hangs");
            const pid = Number(fs.readFileSync(hang, "utf8"));
            child.kill("SIGKILL");
            await once(child, "exit");
            assert.strictEqual(lookUp(official(), root), undefined);
            assert.ok(fs.existsSync(path.join(root, "faketool", ".lock")));
            assert.strictEqual(fs.readdirSync(path.join(root, ".tmp")).length, 1);
            if (findOnPath("setpriv"))
                await until(
                    () => !isAlive({ ...thisProcess(), pid }) && !fs.existsSync(`/proc/${pid}`),
                    "its child is gone",
                );

            await install(official());
            assert.deepStrictEqual(requests, [ARCHIVE, ARCHIVE]);
            assert.ok(!lines.some((line) => line.includes("waiting")));
            assertTidy();
        });

        it("that come second wait for the first, and use what it installed", async () => {
            const hang = path.join(directory, "hang");
            const child = installElsewhere(hang);
            let output = "";
            child.stdout?.on("data", (text) => {
                output += text;
            });
            await until(() => fs.existsSync(hang), "the other process hangs");
            const closed = once(child, "close");
            const second = install(official());
            await until(() => lines.length > 0, "the second one says something");
            assert.deepStrictEqual(lines, [`Fake tool: waiting for process ${child.pid}, which is installing it`]);
            fs.rmSync(hang);
            const { executable } = await second;
            await closed;
            assert.strictEqual(output.trim(), executable);
            assert.deepStrictEqual(requests, [ARCHIVE]);
            assertTidy();
        });

        it("wait only as long as they are wanted", async () => {
            fs.mkdirSync(path.join(root, "faketool"), { recursive: true });
            fs.writeFileSync(path.join(root, "faketool", ".lock"), JSON.stringify(thisProcess()));
            const stop = new AbortController();
            const waiting = install(official(), { signal: stop.signal });
            await until(() => lines.length > 0, "it waits");
            stop.abort(new Error("stopped by the test"));
            await assert.rejects(waiting, /stopped by the test/);
            assert.deepStrictEqual(fs.readdirSync(path.join(root, "faketool")), [".lock"]);
        });

        it("take over the lock of one whose id another process has now", async () => {
            fs.mkdirSync(path.join(root, "faketool"), { recursive: true });
            const recycled = JSON.stringify({ pid: process.pid, started: "1" });
            for (const content of [recycled, ""]) {
                fs.writeFileSync(path.join(root, "faketool", ".lock"), content);
                await install(official());
                assertTidy();
                fs.rmSync(path.join(root, "faketool"), { recursive: true });
                fs.mkdirSync(path.join(root, "faketool"));
            }
        });

        it("are ended with all they started, at the deadline", async () => {
            const file = path.join(directory, "pid");
            const command = script("parent", `sleep 60 & echo $! > ${file}; wait`);
            const running = run([command], { timeoutMs: 500 });
            await assert.rejects(running, /parent did not finish within/);
            const pid = Number(fs.readFileSync(file, "utf8"));
            await until(
                () => !isAlive({ pid, startTime: thisProcess().startTime }) && !runs(pid),
                "the grandchild is gone",
            );
        });

        /** Whether a process runs, and is not a zombie. */
        function runs(pid: number): boolean {
            const stat = fs.existsSync(`/proc/${pid}/stat`) ? fs.readFileSync(`/proc/${pid}/stat`, "utf8") : "";
            return stat !== "" && !/\) [ZX] /.test(stat);
        }
    });

    describe("on this computer", () => {
        it("are used when their version will do, until they change", async () => {
            const wrong = script("a/faketool", "echo faketool v1.0.0");
            const right = script("b/faketool", "echo faketool v1.2.3");
            process.env.PATH = `${path.dirname(wrong)}:${process.env.PATH}`;
            const spec = official({ kind: "path", also: () => [right] });
            const { executable, entry } = await install(spec);
            assert.strictEqual(fs.realpathSync(executable), right);
            assert.strictEqual(entry.from, right);
            assert.strictEqual(lookUp(spec, root)?.executable, executable);
            fs.appendFileSync(right, "# updated\n");
            assert.strictEqual(lookUp(spec, root), undefined);
            await install(spec);
            fs.rmSync(right);
            assert.match(await failure(spec), /already on this computer: .*a\/faketool is version 1\.0\.0/);
        });
    });

    describe("built from source", () => {
        const source = (): GoSource => ({
            kind: "go",
            directory: path.join(directory, "wrapper"),
            package: "example.org/faketool",
            ldflags: "-X a=b",
            environment: { GONOSUMDB: "example.org" },
            diskBytes: 1000,
        });

        beforeEach(() => {
            fs.mkdirSync(path.join(directory, "wrapper"));
            fs.writeFileSync(path.join(directory, "wrapper", "go.mod"), "module x\n\ngo 1.25.3\n");
            fs.writeFileSync(path.join(directory, "wrapper", "go.sum"), "");
            fs.writeFileSync(path.join(directory, "wrapper", "tools.go"), "package tools\n");
        });

        function fakeGo(version: string, toolchain: string, build: string): void {
            script(
                "bin/go",
                `case "$1" in
                env) echo ${version}; echo ${toolchain}; echo ${directory};;
                list) echo fmt; echo internal/abi; echo net/http/internal; echo os;;
                build) shift; ${build};;
                esac`,
            );
            process.env.PATH = `${path.join(directory, "bin")}:${process.env.PATH}`;
        }

        it("in a copy of the wrapper module, with the pinned content", async () => {
            fakeGo(
                "go1.26.0",
                "local",
                `echo "$PWD|$GONOSUMDB|$*" > ${directory}/called; echo changed >> go.mod
                case "$*" in *" fmt os") exit;; esac
                echo "go: downloading example.org/dependency v1" >&2
                while [ "$1" != -o ]; do shift; done
                { echo '#!/bin/sh'; echo 'echo faketool v1.2.3'; } > "$2"; chmod +x "$2"`,
            );
            const { executable, entry } = await install(official(source()));
            assert.strictEqual(entry.from, "example.org/faketool (go1.26.0)");
            const [cwd, nosumdb, flags] = fs.readFileSync(path.join(directory, "called"), "utf8").trim().split("|");
            assert.ok(cwd?.startsWith(path.join(root, ".tmp")), cwd);
            assert.strictEqual(nosumdb, "example.org");
            assert.match(flags ?? "", /-mod=readonly -trimpath .*-ldflags -s -w -X a=b -o \S+ example\.org\/faketool$/);
            assert.strictEqual(
                fs.readFileSync(path.join(directory, "wrapper", "go.mod"), "utf8").includes("changed"),
                false,
            );
            assert.deepStrictEqual(fs.readdirSync(path.dirname(path.dirname(executable))).sort(), [
                "bin",
                "entry.json",
            ]);

            fs.appendFileSync(path.join(directory, "wrapper", "go.sum"), "other content\n");
            assert.strictEqual(lookUp(official(source()), root), undefined);
        });

        it("again once the stubs of what it leaves out have changed", async () => {
            const stub = path.join(directory, "wrapper", "stubs", "example.org", "big", "left_out.go");
            const key = keyOf(source());
            fs.mkdirSync(path.dirname(stub), { recursive: true });
            fs.writeFileSync(stub, "// In place of: a.go\n");
            const stubbed = keyOf(source());
            assert.notStrictEqual(stubbed, key);
            fs.appendFileSync(stub, "package big\n");
            assert.notStrictEqual(keyOf(source()), stubbed);
        });

        it("several at once, but the standard library for one after the other", async () => {
            const events = path.join(directory, "events");
            fakeGo(
                "go1.26.0",
                "local",
                `case "$*" in
                *" fmt os") echo begin >> ${events}; sleep 0.1; echo end >> ${events};;
                *) while [ "$1" != -o ]; do shift; done
                    { echo '#!/bin/sh'; echo 'echo faketool v1.2.3'; } > "$2"; chmod +x "$2";;
                esac`,
            );
            const tool = (name: string) => ({ ...official(source()), name });
            await Promise.all([install(tool("faketool")), install(tool("othertool"))]);
            assert.deepStrictEqual(fs.readFileSync(events, "utf8").trim().split("\n"), [
                "begin",
                "end",
                "begin",
                "end",
            ]);
        });

        it("not with a Go that is too old", async () => {
            fakeGo("go1.24.1", "local", "exit 1");
            assert.match(await failure(official(source())), /this is go1\.24\.1; Go 1\.25\.3 or later is needed/);
        });

        it("says why a build failed", async () => {
            fakeGo("go1.24.1", "auto", "echo 'verifying module: checksum mismatch' >&2; exit 1");
            assert.match(await failure(official(source())), /the build failed: verifying module: checksum mismatch/);
            assertTidy();
        });
    });

    describe("packages of the distribution", () => {
        it("are unpacked with the libraries that are missing; missing lists are fetched", async () => {
            script(
                "bin/apt-get",
                `echo "$*" >> ${directory}/apt
                case "$*" in
                *" update"*) touch ${directory}/updated;;
                *--simulate*)
                    [ -e ${directory}/updated ] || { echo "E: Unable to locate package fake" >&2; exit 100; }
                    echo "Inst libnew (2 Debian [amd64])"; echo "Inst libold [1] (2 Debian [amd64])"
                    echo "Inst fake (1.2.3 Debian [amd64])"; echo "Conf fake (1.2.3 Debian [amd64])";;
                *" download "*) for p; do case $p in fake|libnew|libold) touch $p.deb;; esac; done;;
                esac`,
            );
            script(
                "bin/dpkg-deb",
                `[ "$1" = -x ] || exit 1
                mkdir -p "$3/usr/lib/x86_64-linux-gnu" "$3/usr/sbin"
                touch "$3/usr/lib/x86_64-linux-gnu/$(basename "$2")"
                printf '#!/bin/sh\\necho faketool v1.2.3; echo "$LD_LIBRARY_PATH"; echo "$@"' > "$3/usr/sbin/fake"
                chmod +x "$3/usr/sbin/fake"`,
            );
            process.env.PATH = `${path.join(directory, "bin")}:${process.env.PATH}`;
            const source: Source = { kind: "debian", package: "fake", executable: "usr/sbin/fake", diskBytes: 1000 };
            const { executable, entry } = await install(official(source));
            assert.strictEqual(entry.from, "fake.deb libnew.deb");
            const link = path.join(directory, "link");
            fs.symlinkSync(executable, link);
            const { stdout } = await run([link, "a b"], { timeoutMs: 5_000 });
            const libraries = path.join(path.dirname(path.dirname(executable)), "root/usr/lib/x86_64-linux-gnu");
            const [, found, args] = stdout.split("\n");
            assert.ok(found?.split(":").includes(libraries), found);
            assert.strictEqual(args, "a b");
            assert.match(fs.readFileSync(path.join(directory, "apt"), "utf8"), /Dir::State::Lists=\S*cache.* update/);
        });
    });

    describe("proxies", () => {
        it("are chosen by the environment", () => {
            const proxy = (url: string, environment: NodeJS.ProcessEnv) => proxyFor(new URL(url), environment)?.href;
            const both = { HTTPS_PROXY: "http://a:3128", http_proxy: "b:8080" };
            assert.strictEqual(proxy("https://example.org/", both), "http://a:3128/");
            assert.strictEqual(proxy("http://example.org/", both), "http://b:8080/");
            assert.strictEqual(proxy("https://example.org/", {}), undefined);
            const excluded = (NO_PROXY: string) =>
                proxy("https://get.example.org/", { ...both, NO_PROXY }) === undefined;
            assert.ok(["*", "example.org", ".example.org", "*.example.org", "x, get.example.org:443"].every(excluded));
            assert.ok(!["", "ample.org", "example.com", "get.example.org:8443"].some(excluded));
        });

        it("are used", async () => {
            process.env.HTTP_PROXY = process.env.GATEWAY_TOOLS_MIRROR;
            process.env.GATEWAY_TOOLS_MIRROR = "http://mirror.invalid/base/";
            routes[`http://mirror.invalid/base${ARCHIVE}`] = routes[ARCHIVE] as http.RequestListener;
            await install(official());
            assert.deepStrictEqual(requests, [`http://mirror.invalid/base${ARCHIVE}`]);
        });

        it("are tunnelled through to a host with TLS", async () => {
            let hello = Buffer.alloc(0);
            server.on("connect", (_, socket) => {
                socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
                socket.once("data", (data) => {
                    hello = data;
                    socket.destroy();
                });
            });
            process.env.HTTPS_PROXY = process.env.GATEWAY_TOOLS_MIRROR;
            delete process.env.GATEWAY_TOOLS_MIRROR;
            await failure(official());
            assert.strictEqual(hello[0], 0x16, "a TLS handshake");
            assert.ok(hello.includes("vendor.invalid"), "for the host itself");
        });

        it("that refuse are named, without their password", async () => {
            const connects: (string | undefined)[] = [];
            server.on("connect", (request, socket) => {
                connects.push(`${request.url} ${request.headers["proxy-authorization"]}`);
                socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
            });
            const { host } = new URL(process.env.GATEWAY_TOOLS_MIRROR as string);
            process.env.HTTPS_PROXY = `http://me:secret@${host}`;
            delete process.env.GATEWAY_TOOLS_MIRROR;
            const message = await failure(official());
            assert.ok(message.includes(`the proxy ${host} answered 407`), message);
            assert.ok(!message.includes("secret"));
            const credentials = Buffer.from("me:secret").toString("base64");
            assert.deepStrictEqual(connects, [`vendor.invalid:443 Basic ${credentials}`]);
        });
    });

    describe("plugins", () => {
        /** Puts a Pulumi that runs this shell code into the cache. */
        function fakePulumi(code: string): void {
            const entry = temporaryDirectory(root, "pulumi");
            fs.mkdirSync(path.join(entry, "bin"));
            fs.symlinkSync(script("pulumi-cli", code), path.join(entry, "bin", "pulumi"));
            commitEntry(root, tools.pulumi, { kind: "path" }, entry, { version: versions.pulumi, from: "test" });
        }

        const ensure = (timeoutMs?: number) =>
            ensurePlugin("fake", "1.0.0", {
                progress: (line) => lines.push(line),
                ...(timeoutMs ? { timeoutMs } : {}),
            });
        const failureFile = () => path.join(root, "plugins", "fake-1.0.0.failed");

        it("are there when their directory is complete, or they are on PATH", () => {
            const home = path.join(directory, "pulumi", "plugins", "resource-fake-v1.0.0");
            assert.strictEqual(pluginAvailable("fake", "1.0.0"), false);
            fs.mkdirSync(home, { recursive: true });
            assert.strictEqual(pluginAvailable("fake", "1.0.0"), false);
            fs.writeFileSync(path.join(home, "pulumi-resource-fake"), "", { mode: 0o755 });
            assert.strictEqual(pluginAvailable("fake", "1.0.0"), true);
            assert.strictEqual(pluginAvailable("fake", "1.0.1"), false);
            fs.writeFileSync(`${home}.partial`, "");
            assert.strictEqual(pluginAvailable("fake", "1.0.0"), false);
            script("bin/pulumi-resource-fake", "");
            process.env.PATH = `${path.join(directory, "bin")}:${process.env.PATH}`;
            assert.strictEqual(pluginAvailable("fake", "1.0.0"), true);
        });

        it("are installed with the cached Pulumi", async () => {
            assert.strictEqual(await ensure(), false);
            fakePulumi(`[ "$*" = "plugin install resource fake 1.0.0" ] || exit 1
                d=$PULUMI_HOME/plugins/resource-fake-v1.0.0; mkdir -p $d
                touch $d/pulumi-resource-fake; chmod +x $d/pulumi-resource-fake`);
            assert.strictEqual(await ensure(), true);
            assert.strictEqual(fs.existsSync(failureFile()), false);
        });

        it("that cannot be installed are not tried again for an hour", async () => {
            fakePulumi(`echo x >> ${directory}/calls; echo 'error: no network' >&2; exit 1`);
            const calls = () => fs.readFileSync(path.join(directory, "calls"), "utf8").length / 2;
            assert.strictEqual(await ensure(), false);
            assert.ok(lines.some((line) => line.includes("cannot be installed: error: no network")));
            assert.strictEqual(await ensure(), false);
            assert.strictEqual(calls(), 1);
            const before = Date.now() / 1000 - 3601;
            fs.utimesSync(failureFile(), before, before);
            assert.strictEqual(await ensure(), false);
            assert.strictEqual(calls(), 2);
        });

        it("are given up at the deadline", async () => {
            fakePulumi("exec sleep 60");
            assert.strictEqual(await ensure(200), false);
            assert.ok(
                lines.some((line) => line.includes("did not finish within")),
                lines.join("\n"),
            );
        });

        it("have the version of the installed package", () => {
            const { dependencies } = require("../../package.json");
            assert.strictEqual(pluginVersion("consul"), dependencies["@pulumi/consul"]);
        });
    });
});
