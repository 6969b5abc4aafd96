/**
 * Servers of a third party, deployed by configuration alone: on Apache Thrift's Python library, and such as Apache Airavata's.
 */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as tar from "tar";
import { statesAt } from "../../clients/balancerStatus";
import { LoadGenerator } from "../../gateway-sample/load/generator";
import { waitFor } from "../../lib/wait";
import { readStatus, stopMachine } from "../../programs/supervisor/machine";
import { machineNames } from "../../programs/supervisor/record";
import { deploy, destroy, type EngineRunOptions, isChange, type OpenStack, open, preview } from "../../scripts/deploy";
import { ensureTools, type ToolName, toolPath } from "../../toolchain";
import { findOnPath, run } from "../../toolchain/processes";

const SOURCES = join(__dirname, "pythonGateway");
const NETWORK = "127.93.30";
const BALANCERS = [21, 22].map((host) => `${NETWORK}.${host}`);
const PORT = 9190;
/** Deadline of a repeated call, milliseconds. */
const DEADLINE = 5_000;
/** Deadline of the library's download, milliseconds. */
const PIP_TIMEOUT = 120_000;

describe("a gateway in another language", function () {
    this.timeout(240_000);
    const earlier = { ...process.env };
    const home = mkdtempSync(join(tmpdir(), "gateway-foreign-"));
    const machines = join(home, "machines");
    let archive: { url: string; sha256: string };
    let options: EngineRunOptions;
    let stack: OpenStack;
    let generator: LoadGenerator;

    before(async function () {
        const tools: ToolName[] = ["pulumi", "consul", "consul-template", "haproxy"];
        const missing = tools.filter((tool) => !toolPath(tool));
        if (missing.length > 0) {
            if (process.env.CI) await ensureTools(missing, { progress: console.log });
            else skip(this, `not installed: ${missing.join(", ")} ("npm run tools")`);
        }
        archive = await buildArchive(home).catch((error: Error) => skip(this, error.message));
        process.env.GATEWAY_HOME = home;
        generator = new LoadGenerator();
    });

    after(async () => {
        await generator?.close();
        for (const name of machineNames(machines)) await stopMachine({ machines }, name);
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

    /** Deploys the server as one of its kinds, with a health check. @returns what the engine did. */
    async function deployAs(
        kind: string,
        healthCheck: object,
        port = PORT,
        name = "python-gateway",
    ): Promise<string[]> {
        options = {
            say: () => undefined,
            signal: new AbortController().signal,
            overrides: {
                "gateway:local": { network: `${NETWORK}.0/24` },
                "gateway:replacement": { enabled: false },
                "gateway:consulObjects": false,
                "gateway:loadBalancer": { port: PORT, drainSeconds: 5 },
                "gateway:service": {
                    name,
                    port,
                    install: { kind: "archive", ...archive },
                    argv: ["bin/server", kind, "--apiserver.host={address}", "--apiserver.port={port}"],
                    healthCheck,
                    stopTimeoutSeconds: 10,
                },
            },
        };
        stack = await open("local", options);
        return Object.keys(await deploy(stack, options));
    }

    const used = async (balancer: string) => {
        const states = await statesAt(`http://${balancer}:9192`, 1);
        return [...states].flatMap(([address, state]) => (state === "up" ? [address] : []));
    };
    const inRotation = (count: number) =>
        waitFor(
            `${count} gateways in rotation`,
            async () => (await Promise.all(BALANCERS.map(used))).every(({ length }) => length === count),
            60_000,
        );
    /** The process of a gateway's server. */
    const server = (machine: string): number => {
        const pid = readStatus({ machines }, machine)?.services.gateway?.pid ?? 0;
        assert.ok(pid > 0, `the server of ${machine} runs`);
        return pid;
    };

    /** Calls through the balancers during a fault, tried once and repeated. No repeated call may fail. */
    async function calls(what: string, fault: () => Promise<unknown>, serviceName?: string): Promise<void> {
        const addresses = BALANCERS.map((address) => `${address}:${PORT}`);
        const service = serviceName === undefined ? {} : { serviceName };
        const raw = await generator.start({ addresses, ratePerSecond: 100, ...service, raw: true });
        const repeated = await generator.start({
            addresses,
            ratePerSecond: 50,
            ...service,
            raw: false,
            deadlineMs: DEADLINE,
        });
        await fault();
        const [once, again] = [await raw.stop(), await repeated.stop()];
        assert.ok(once.ok > 0, "calls were answered");
        assert.deepEqual(again.failures, []);
        const span = once.failed > 1 ? ` within ${once.outageMs.toFixed(0)} ms` : "";
        console.log(
            `      ${what}: ${once.failed} of ${once.started} calls failed${span}, 0 of ${again.started} repeated ones`,
        );
    }

    const arguments_ = [
        { id: 1, kind: "struct", fields: [{ id: 1, kind: "string", value: "none" }] },
        { id: 2, kind: "string", value: "default" },
        { id: 3, kind: "string", value: "nobody" },
    ];
    /** With every argument, as a client would call. */
    const complete = { kind: "thrift", service: "Users", method: "isUserExists", arguments: arguments_ };
    /** Without them the server answers with an exception, which shows that it lives. */
    const anyAnswer = { kind: "thrift", service: "GatewayApi", method: "isUserExists", exception: "healthy" };

    describe("whose methods all need arguments, two services on one port", () => {
        it("is installed from an archive, and checked by a Thrift call with arguments", async () => {
            assert.deepEqual(await deployAs("multiplexed", complete), ["create"]);
            await inRotation(2);
            const changes = await preview(stack, options);
            assert.equal(isChange(changes), false, JSON.stringify(changes));
        });

        it("is taken out of service while it hangs, and comes back", async () => {
            const pid = server("gw-0");
            const hang = async () => {
                process.kill(pid, "SIGSTOP");
                await inRotation(1);
            };
            // It hangs until no call waits any more.
            await calls("SIGSTOP", hang, "GatewayApi").finally(() => process.kill(pid, "SIGCONT"));
            await inRotation(2);
        });

        it("is taken out of service when its process is killed, and comes back", () =>
            calls(
                "kill -9",
                async () => {
                    process.kill(server("gw-1"), "SIGKILL");
                    await inRotation(1);
                    await inRotation(2);
                },
                "GatewayApi",
            ));

        it("drains, though it cannot drain by itself, and is checked by any answer that it gives after the change", () =>
            calls(
                "drain, both gateways replaced",
                async () => {
                    await deployAs("multiplexed", anyAnswer);
                    await inRotation(2);
                },
                "GatewayApi",
            ));
    });

    // The guide's examples, with the server's own port and health check.
    describe("as Apache Airavata 0.21, with one service that is not multiplexed", () => {
        it("takes the place of another server", async () => {
            await deployAs("apiserver", { kind: "thrift", method: "getAPIVersion" }, 8930);
            await inRotation(2);
            await calls("kill -9", async () => {
                process.kill(server("gw-1"), "SIGKILL");
                await inRotation(1);
                await inRotation(2);
            });
        });

        it("keeps its capacity while its port and its health check change to ones that the running servers fail", () =>
            calls("new port and health check", async () => {
                const deployed = deployAs("both", complete, 8931);
                let fewest = 2;
                let isDone = false;
                const watched = waitFor(
                    "the deployment",
                    async () => {
                        const counts = await Promise.all(BALANCERS.map(used));
                        fewest = Math.min(fewest, ...counts.map(({ length }) => length));
                        return isDone;
                    },
                    120_000,
                    20,
                );
                await deployed.finally(() => {
                    isDone = true;
                });
                await watched;
                await inRotation(2);
                assert.ok(fewest >= 1, "each balancer always had a gateway");
            }));

        it("does not change its name in Consul while it runs, and says what to do", () =>
            calls("refused new name", async () => {
                await assert.rejects(
                    deployAs("both", complete, 8931, "users-api"),
                    /cannot change service.name from python-gateway to users-api without losing calls.*nothing was changed/,
                );
                await inRotation(2);
            }));
    });

    describe("as Apache Airavata after 0.21, which has a health page", () => {
        it("is checked over HTTP, and removed like the sample", async () => {
            await deployAs("armeria", { kind: "http", path: "/internal/actuator/health" }, 9090);
            await inRotation(2);
            const page = await fetch(`http://${BALANCERS[0]}:${PORT}/internal/actuator/health`);
            assert.equal(page.status, 200);
            await destroy(stack, options);
            assert.deepEqual(machineNames(machines), []);
        });
    });
});

function skip(context: Mocha.Context, reason: string): never {
    console.log(`      skipped: ${reason}`);
    return context.skip() as never;
}

/** Packs the server with its library, as its vendor would. @returns the archive's location and checksum. */
async function buildArchive(home: string): Promise<{ url: string; sha256: string }> {
    // The folder in which the machines' services look for it.
    const python = findOnPath("python3", { PATH: "/usr/local/bin:/usr/bin:/bin" });
    if (!python) throw new Error("there is no python3");
    const [work, downloads] = [join(home, "python-gateway"), join(home, "downloads")];
    mkdirSync(downloads);
    const pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
    const requirements = ["--requirement", join(SOURCES, "requirements.txt")];
    const { code, output } = await run([python, ...pip, "--no-binary", ":all:", "--dest", downloads, ...requirements], {
        timeoutMs: PIP_TIMEOUT,
    });
    if (code !== 0) throw new Error(`cannot install Thrift's library for Python: ${output.trim().split("\n").at(-1)}`);
    const [source = ""] = readdirSync(downloads);
    await tar.extract({ file: join(downloads, source), cwd: downloads });
    for (const part of ["bin", "gen"]) cpSync(join(SOURCES, part), join(work, part), { recursive: true });
    cpSync(join(downloads, source.replace(/\.tar\.gz$/, ""), "src"), join(work, "lib", "thrift"), { recursive: true });
    const file = join(home, "python-gateway.tar.gz");
    await tar.create({ file, cwd: work, gzip: true }, readdirSync(work));
    return { url: pathToFileURL(file).href, sha256: createHash("sha256").update(readFileSync(file)).digest("hex") };
}
