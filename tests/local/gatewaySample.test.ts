import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { buildSync } from "esbuild";
import { createClient } from "../../gateway-sample/client";
import * as GatewayApi from "../../gateway-sample/gen/GatewayApi";

describe("gateway sample: program", () => {
    let folder: string;
    let bundle: string;
    const children: ChildProcessByStdio<null, Readable, Readable>[] = [];

    before(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-sample-"));
        bundle = join(folder, "gateway.cjs");
        buildSync({
            entryPoints: [join(__dirname, "../../gateway-sample/server/main.ts")],
            bundle: true,
            platform: "node",
            outfile: bundle,
            logLevel: "error", // the compiler writes cases twice
        });
    });
    afterEach(async () => {
        for (const child of children.splice(0)) {
            if (child.exitCode !== null || child.signalCode !== null) continue;
            child.kill("SIGKILL");
            await once(child, "exit");
        }
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    function run(...flags: string[]) {
        const child = spawn(process.execPath, [bundle, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
        children.push(child);
        const out = { stdout: "", stderr: "" };
        child.stdout.on("data", (data) => {
            out.stdout += data;
        });
        child.stderr.on("data", (data) => {
            out.stderr += data;
        });
        const exit = once(child, "close").then(([code]) => code as number | null);
        const lines = () =>
            out.stdout
                .split("\n")
                .filter((line) => line !== "")
                .map((line) => JSON.parse(line) as Record<string, unknown>);
        /** Resolves with the log line of this message. */
        const logged = async (message: string) => {
            for (;;) {
                const line = lines().find((one) => one.msg === message);
                if (line !== undefined) return line;
                if (child.exitCode !== null) throw new Error(`it ended: ${out.stderr}`);
                await Promise.race([once(child.stdout, "data"), exit]);
            }
        };
        return { child, out, exit, logged };
    }

    it("serves, and on SIGTERM answers calls in flight and exits with 0", async () => {
        const { child, out, exit, logged } = run("--port", "0", "--name", "one", "--drain-quiet-seconds", "0.1");
        const { port } = await logged("serving");
        const client = createClient(GatewayApi, { addresses: [`127.0.0.1:${port}`], deadlineMs: 5000 });
        assert.equal(await client.api.ping(), "one");
        const call = client.api.sleep(500);
        await client.api.echo("sent after the call above");
        child.kill("SIGTERM");
        assert.equal(await call, "one");
        assert.equal(await exit, 0);
        client.close();
        assert.equal(out.stderr, "");
        assert.match(out.stdout, /"signal":"SIGTERM".*"stopping"/);
    });

    it("stops at once on a second signal, with 1 when that cuts off a call", async () => {
        const { child, exit, logged } = run("--port", "0", "--drain-seconds", "60");
        const { port } = await logged("serving");
        const client = createClient(GatewayApi, { addresses: [`127.0.0.1:${port}`], deadlineMs: 60_000 });
        const call = assert.rejects(client.api.sleep(50_000), { name: "OutcomeUnknown" });
        await client.api.echo("sent after the call above");
        child.kill("SIGTERM");
        await logged("draining");
        child.kill("SIGTERM");
        assert.equal(await exit, 1);
        await call;
        client.close();
    });

    it("prints an error in one line, and exits with 1", async () => {
        const first = run("--port", "0");
        const { port } = await first.logged("serving");
        for (const [flags, message] of [
            [["--port", String(port)], `cannot listen on 127.0.0.1:${port}: the port is in use`],
            [["--port", "99999"], "It must be a whole number from 0 to 65535."],
            [["--host", "192.0.2.1", "--port", "0"], "this machine does not have the address"],
            [["--log-level", "loud"], "It must be one of"],
            [["--unknown"], "unknown option"],
        ] as const) {
            const { out, exit } = run(...flags);
            assert.equal(await exit, 1);
            assert(out.stderr.includes(message), out.stderr);
            assert.equal(out.stderr.trim().split("\n").length, 1, out.stderr);
        }
    });
});
