/**
 * A gateway of a third party, deployed by configuration alone: Apache Thrift's Python library, unframed, two services
 * on one port.
 */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as tar from "tar";
import { statesAt } from "../../clients/balancerStatus";
import { startLoad } from "../../gateway-sample/load";
import { waitFor } from "../../lib/wait";
import { stopMachine } from "../../programs/supervisor/machine";
import { machineNames } from "../../programs/supervisor/record";
import { deploy, destroy, type EngineRunOptions, isChange, type OpenStack, open, preview } from "../../scripts/deploy";
import { ensureTools, type ToolName, toolPath } from "../../toolchain";
import { findOnPath, run } from "../../toolchain/processes";

const SOURCES = join(__dirname, "pythonGateway");
const NETWORK = "127.93.30";
const BALANCERS = [21, 22].map((host) => `${NETWORK}.${host}`);
const PORT = 9190;
/** Deadline of a repeated call, milliseconds. The deployment runs in this process as well, and delays calls. */
const DEADLINE = 5_000;
/** Deadline of the library's download, milliseconds. */
const PIP_TIMEOUT = 120_000;

describe("a gateway in another language", function () {
    this.timeout(240_000);
    const earlier = { ...process.env };
    const home = mkdtempSync(join(tmpdir(), "gateway-foreign-"));
    let options: EngineRunOptions;
    let stack: OpenStack;

    before(async function () {
        const tools: ToolName[] = ["pulumi", "consul", "consul-template", "haproxy"];
        const missing = tools.filter((tool) => !toolPath(tool));
        if (missing.length > 0) {
            if (process.env.CI) await ensureTools(missing, { progress: console.log });
            else skip(this, `not installed: ${missing.join(", ")} ("npm run tools")`);
        }
        const archive = await buildArchive(home).catch((error: Error) => skip(this, error.message));
        process.env.GATEWAY_HOME = home;
        options = {
            say: () => undefined,
            signal: new AbortController().signal,
            overrides: {
                "gateway:local": { network: `${NETWORK}.0/24` },
                "gateway:replacement": { enabled: false },
                "gateway:consulObjects": false,
                "gateway:service": {
                    name: "python-gateway",
                    port: PORT,
                    install: { kind: "archive", ...archive },
                    argv: ["bin/server", "{address}", "{port}"],
                    healthCheck: { kind: "thrift", service: "GatewayApi", method: "ping", framed: false },
                    stopTimeoutSeconds: 10,
                },
            },
        };
        stack = await open("local", options);
    });

    after(async () => {
        for (const name of machineNames(join(home, "machines"))) {
            await stopMachine({ machines: join(home, "machines") }, name);
        }
        rmSync(home, { recursive: true, force: true });
        for (const key of Object.keys(process.env)) if (!(key in earlier)) delete process.env[key];
        Object.assign(process.env, earlier);
    });

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

    it("is installed from an archive, checked by Thrift calls to one of its services, and called through the balancers", async () => {
        assert.deepEqual(Object.keys(await deploy(stack, options)), ["create"]);
        await inRotation(2);
        const changes = await preview(stack, options);
        assert.equal(isChange(changes), false, JSON.stringify(changes));
        const addresses = BALANCERS.map((address) => `${address}:${PORT}`);
        const load = startLoad({ addresses, ratePerSecond: 50, serviceName: "GatewayApi", raw: true });
        await waitFor("calls", () => load.live.ok >= 100, 20_000);
        assert.deepEqual((await load.stop()).failures, []);
    });

    it("is taken out of service when it dies, while calls continue, and comes back", async () => {
        const addresses = BALANCERS.map((address) => `${address}:${PORT}`);
        const load = startLoad({
            addresses,
            ratePerSecond: 50,
            serviceName: "GatewayApi",
            raw: false,
            deadlineMs: DEADLINE,
        });
        await waitFor("calls", () => load.live.ok >= 50, 20_000);
        await stopMachine({ machines: join(home, "machines") }, "gw-1");
        await inRotation(1);
        await deploy(stack, options);
        await inRotation(2);
        assert.deepEqual((await load.stop()).failures, []);
    });

    it("is removed like the sample", async () => {
        await destroy(stack, options);
        assert.deepEqual(machineNames(join(home, "machines")), []);
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
