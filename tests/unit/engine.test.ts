import * as assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation";
import { startedBy } from "../../engine/startedBy";
import { stateReader } from "../../engine/stateFile";

const checkpoint = (latest: unknown, version = 3) => JSON.stringify({ version, checkpoint: { stack: "s", latest } });

describe("the engine's state without the CLI", () => {
    let folder: string;
    beforeEach(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-state-"));
    });
    afterEach(() => rmSync(folder, { recursive: true }));

    const write = (name: string, text: string) => {
        const path = join(folder, ".pulumi/stacks/gateway", name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
    };

    it("is read from a folder, with a version that changes with it", async () => {
        const read = stateReader(`file://${folder}?no_tmp_dir=true`, "gateway", "local");
        write("local.json", checkpoint({ resources: [{ urn: "a" }] }));
        const first = await read?.();
        assert.deepEqual(first?.deployment, { resources: [{ urn: "a" }] });
        assert.deepEqual(await read?.(), first);
        write("local.json", checkpoint({ resources: [{ urn: "b" }] }));
        assert.notEqual((await read?.())?.version, first?.version);
    });

    it("is left to the CLI where it is not kept like that", async () => {
        const read = stateReader(`file://${folder}`, "gateway", "local");
        assert.equal(await read?.(), undefined, "there is none");
        write("local.json", checkpoint({ resources: [] }, 4));
        assert.equal(await read?.(), undefined, "another version of the format");
        write("local.json", checkpoint(undefined));
        assert.equal(await read?.(), undefined, "never deployed");
        assert.equal(stateReader("https://api.pulumi.com", "gateway", "local"), undefined);
    });

    it("is an error when there is no access, not an empty state", async () => {
        const read = stateReader(`file://${folder}`, "gateway", "local");
        write("local.json", "{");
        await assert.rejects(async () => read?.());
        rmSync(join(folder, ".pulumi/stacks/gateway/local.json"));
        mkdirSync(join(folder, ".pulumi/stacks/gateway/local.json"));
        await assert.rejects(async () => read?.());
    });

    it("is read from a bucket", async () => {
        const asked: (string | undefined)[] = [];
        let status = 200;
        const server = http.createServer((request, response) => {
            asked.push(request.url?.split("?")[0]);
            if (status === 200) response.end(checkpoint({ resources: [{ urn: "a" }] }));
            else {
                const code = status === 404 ? "NoSuchKey" : "AccessDenied";
                response.writeHead(status).end(`<Error><Code>${code}</Code><Message>no</Message></Error>`);
            }
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: key } = process.env;
        Object.assign(process.env, { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" });
        try {
            const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
            const backend = `s3://bucket/folder?endpoint=${endpoint}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1`;
            const read = stateReader(backend, "gateway", "jetstream");
            assert.deepEqual((await read?.())?.deployment, { resources: [{ urn: "a" }] });
            assert.deepEqual(asked, ["/bucket/folder/.pulumi/stacks/gateway/jetstream.json"]);
            status = 404;
            assert.equal(await read?.(), undefined);
            status = 403;
            await assert.rejects(async () => read?.());
        } finally {
            server.close();
            server.closeAllConnections();
            for (const [name, value] of Object.entries({ AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: key })) {
                if (value === undefined) delete process.env[name];
                else process.env[name] = value;
            }
        }
    });
});

describe("the engine's CLI", () => {
    it("is started by another command, with the programs that the environment prefers", async () => {
        const folder = mkdtempSync(join(tmpdir(), "gateway-cli-"));
        try {
            mkdirSync(join(folder, "bin"));
            const cli = join(folder, "bin/pulumi");
            const script =
                '#!/bin/sh\n[ "$1" = version ] && echo v3.259.0 || echo "$(chrt -p $$ | head -1) $PATH $*"\n';
            writeFileSync(cli, script);
            chmodSync(cli, 0o755);
            const plain = await PulumiCommand.get({ root: folder });
            const batch = startedBy(["chrt", "--batch", "0"], plain);
            assert.equal(startedBy([], plain), plain);
            assert.equal(`${batch.version}`, "3.259.0");
            type Run = { run(args: string[], cwd: string, env: Record<string, string>): Promise<{ stdout: string }> };
            const path = `/preferred:${process.env.PATH}`;
            const run = (command: PulumiCommand) =>
                (command as unknown as Run).run(["preview"], folder, { PATH: path });
            const { stdout } = await run(batch);
            assert.match(stdout, /SCHED_BATCH/);
            assert.ok(stdout.includes(` ${path} preview --non-interactive`), stdout);
            assert.match((await run(plain)).stdout, new RegExp(`SCHED_OTHER ${folder}/bin:/preferred:`));
        } finally {
            rmSync(folder, { recursive: true });
        }
    });
});
