import * as assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DrainSettings, GONE } from "../../programs/drain/main";

/** The program's requests to an agent that answers with `status`, and how the program ended. */
async function leave(status: number, ...words: string[]) {
    const asked: string[] = [];
    const agent = createServer((request, response) => {
        asked.push(`${request.method} ${request.url} ${request.headers["x-consul-token"]}`);
        response.writeHead(status).end();
    }).listen(0, "127.0.0.1");
    // A client is connected to the gateway. A program that waited for it to go would wait until the deadline.
    const gateway = createTcpServer().listen(0, "127.0.0.1");
    await Promise.all([once(agent, "listening"), once(gateway, "listening")]);
    const { port } = gateway.address() as AddressInfo;
    const client = connect(port, "127.0.0.1");
    const [connection] = await once(gateway, "connection");
    const folder = mkdtempSync(join(tmpdir(), "gateway-drain-"));
    try {
        const settings: DrainSettings = {
            api: `http://127.0.0.1:${(agent.address() as AddressInfo).port}`,
            serviceId: "calls gw-0",
            token: "the token",
            port,
            address: "127.0.0.1",
            timeout: 600_000,
        };
        const path = join(folder, "drain.json");
        writeFileSync(path, JSON.stringify(settings));
        const child = spawn(process.execPath, ["--import", "tsx", "programs/drain/main.ts", path, ...words], {
            cwd: join(__dirname, "../.."),
            stdio: ["ignore", "ignore", "pipe"],
        });
        let said = "";
        child.stderr.on("data", (chunk) => {
            said += chunk;
        });
        const [code] = await once(child, "close");
        return { asked, code, said };
    } finally {
        connection.destroy();
        client.destroy();
        gateway.close();
        agent.close();
        rmSync(folder, { recursive: true });
    }
}

describe("draining a gateway whose process has ended", function () {
    this.timeout(30_000);
    const deregistration = "PUT /v1/agent/service/deregister/calls%20gw-0 the token";

    it("deregisters the gateway at once, without waiting for connections", async () => {
        assert.deepEqual(await leave(200, GONE), { asked: [deregistration], code: 0, said: "" });
    });

    it("succeeds if the gateway is already deregistered", async () => {
        assert.equal((await leave(404, GONE)).code, 0);
    });

    it("fails with the agent's answer if the agent refuses", async () => {
        const { code, said } = await leave(403, GONE);
        assert.deepEqual([code, said], [1, "drain: Consul answers 403 to the deregistration\n"]);
    });
});
