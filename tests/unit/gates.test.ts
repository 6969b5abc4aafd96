import * as assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { waitForRotation, waitForServing } from "../../clients/readiness";

/** A balancer's status page: of HAProxy or Fabio, with these addresses in use. */
class Page {
    uses: readonly string[] = [];
    private readonly server: Server;

    constructor(readonly software: "haproxy" | "fabio") {
        this.server = createServer(({ url }, response) => {
            const answer = this.answer(url ?? "");
            response.writeHead(answer === undefined ? 404 : 200).end(answer);
        });
    }

    async start(): Promise<string> {
        await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
        return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }

    stop(): void {
        this.server.close();
    }

    private answer(url: string): string | undefined {
        if (this.software === "fabio") {
            const routes = this.uses.map((address) => ({ src: ":9190", dst: `tcp://${address}:9190` }));
            return url === "/api/routes" ? JSON.stringify(routes.length > 0 ? routes : null) : undefined;
        }
        const rows = this.uses.map((address, index) => `gateways,gw${index},UP,${address}:9190`);
        const csv = ["# pxname,svname,status,addr", ...rows, "gateways,BACKEND,UP,", ""];
        return url === "/;csv" ? csv.join("\n") : undefined;
    }
}

describe("the gates of machines", () => {
    const pages: Page[] = [];
    const page = async (software: Page["software"], ...uses: string[]) => {
        const made = new Page(software);
        made.uses = uses;
        pages.push(made);
        return { made, url: await made.start() };
    };
    afterEach(() => {
        for (const each of pages.splice(0)) each.stop();
    });

    /** Whether a gate is open now, or within a quarter of a second. */
    const opens = (gate: Promise<void>) =>
        Promise.race([gate.then(() => true), new Promise<false>((shut) => setTimeout(() => shut(false), 250))]);

    it("let a gateway through once all balancers that answer use it, whatever their software", async () => {
        const [one, two] = [await page("haproxy", "10.0.0.1"), await page("fabio")];
        const gate = waitForRotation([one.url, two.url, "http://127.0.0.1:1"], "10.0.0.1");
        assert.equal(await opens(gate), false);
        two.made.uses = ["10.0.0.1"];
        await gate;
    });

    it("let a balancer through once it uses a gateway", async () => {
        const [own, other] = [await page("fabio"), await page("haproxy", "10.0.0.1")];
        const gate = waitForServing(own.url, [other.url]);
        assert.equal(await opens(gate), false);
        own.made.uses = ["10.0.0.2"];
        await gate;
    });

    it("let it through when no other balancer uses one either, after a while", async () => {
        const [own, other] = [await page("haproxy"), await page("fabio")];
        const gate = waitForServing(own.url, [other.url], 500);
        assert.equal(await opens(gate), false);
        await gate;
    });

    it("keep it while another balancer does", async () => {
        const [own, other] = [await page("fabio"), await page("haproxy", "10.0.0.1")];
        const gate = waitForServing(own.url, [other.url], 0);
        assert.equal(await opens(gate), false);
        own.made.uses = ["10.0.0.1"];
        await gate;
    });
});
