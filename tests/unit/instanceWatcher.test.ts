import * as assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MetadataService } from "../../clients/instanceMetadata";
import { completeLifecycleAction, type Effects, judge, tryDisk, Watcher } from "../../programs/instance-watcher/main";
import type { WatcherSettings } from "../../programs/instance-watcher/settings";
import { awsCredentials } from "./support/awsCredentials";

/** A metadata service, version 2: it gives nothing without a token, and a token only for PUT. */
class FakeMetadata {
    readonly data = new Map<string, string>();
    tokens = 0;
    valid = "";
    private readonly server = createServer((request, response) => {
        if (request.url === "/latest/api/token" && request.method === "PUT") {
            assert.match(request.headers["x-aws-ec2-metadata-token-ttl-seconds"] as string, /^\d+$/);
            this.tokens += 1;
            this.valid = `token-${this.tokens}`;
            return response.end(this.valid);
        }
        if (request.headers["x-aws-ec2-metadata-token"] !== this.valid) return response.writeHead(401).end();
        const body = this.data.get((request.url ?? "").replace("/latest/meta-data/", ""));
        return response.writeHead(body === undefined ? 404 : 200).end(body ?? "not found");
    });
    endpoint = "";

    async start(): Promise<void> {
        await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
        this.endpoint = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }

    async stop(): Promise<void> {
        this.server.closeAllConnections();
        await new Promise((done) => this.server.close(done));
    }
}

const hook = { name: "drain", group: "gateways", region: "us-east-1" };
const settings: WatcherSettings = {
    interval: 1,
    drain: ["gw-gateway.service"],
    onRebalance: "report",
    hook,
    disk: { folder: "/state", stop: ["gw-gateway-health.service"] },
};
const SPOT = '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}';

describe("the instance watcher", () => {
    const fake = new FakeMetadata();
    before(() => fake.start());
    after(() => fake.stop());
    beforeEach(() => fake.data.clear());

    /** A watcher that records its effects. Those in `failing` fail as often as they say. */
    function watcher(more: Partial<WatcherSettings> = {}, failing: Partial<Effects> = {}) {
        const done: string[] = [];
        const said: string[] = [];
        const effects: Effects = {
            systemctl: async (verb, unit) => {
                done.push(`${verb} ${unit}`);
            },
            complete: async ({ name }, instance) => {
                done.push(`complete ${name} ${instance}`);
            },
            tryDisk: () => undefined,
            say: (line) => said.push(line),
            ...failing,
        };
        return {
            done,
            said,
            watcher: new Watcher({ ...settings, ...more }, new MetadataService(fake.endpoint), effects),
        };
    }
    const rounds = async (each: Watcher, count: number) => {
        for (let round = 0; round < count; round++) await each.round();
    };

    it("does nothing while there is no notice", async () => {
        const { watcher: each, done, said } = watcher();
        fake.data.set("autoscaling/target-lifecycle-state", "InService");
        await rounds(each, 5);
        assert.deepEqual([done, said], [[], []]);
    });

    it("drains once before a spot interruption, and completes no lifecycle hook that does not wait", async () => {
        const { watcher: each, done, said } = watcher();
        fake.data.set("spot/instance-action", SPOT);
        await rounds(each, 3);
        assert.deepEqual(done, ["stop gw-gateway.service"]);
        assert.match(said.join("\n"), /draining: spot interruption: .*terminate/);
    });

    it("drains and then completes the lifecycle hook when the group ends the instance", async () => {
        const { watcher: each, done } = watcher();
        fake.data.set("autoscaling/target-lifecycle-state", "Terminated");
        fake.data.set("instance-id", "i-0");
        await rounds(each, 3);
        assert.deepEqual(done, ["stop gw-gateway.service", "complete drain i-0"]);
    });

    it("completes the hook even if the group's decision comes after the spot notice", async () => {
        const { watcher: each, done } = watcher();
        fake.data.set("spot/instance-action", SPOT);
        fake.data.set("instance-id", "i-0");
        await each.round();
        fake.data.set("autoscaling/target-lifecycle-state", "Terminated");
        await rounds(each, 2);
        assert.deepEqual(done, ["stop gw-gateway.service", "complete drain i-0"]);
    });

    it("reports a rebalance recommendation once, and drains for it only if configured", async () => {
        fake.data.set("events/recommendations/rebalance", '{"noticeTime": "2026-01-01T00:00:00Z"}');
        const reporting = watcher();
        await rounds(reporting.watcher, 3);
        assert.deepEqual(reporting.done, []);
        assert.equal(reporting.said.filter((line) => line.includes("rebalance")).length, 1);
        const draining = watcher({ onRebalance: "drain" });
        await rounds(draining.watcher, 3);
        assert.deepEqual(draining.done, ["stop gw-gateway.service"]);
    });

    it("retries what failed, and logs it once", async () => {
        let left = 2;
        const done: string[] = [];
        const { watcher: each, said } = watcher(
            {},
            {
                systemctl: async (verb, unit) => {
                    if (left-- > 0) throw new Error("no bus");
                    done.push(`${verb} ${unit}`);
                },
            },
        );
        fake.data.set("spot/instance-action", SPOT);
        await rounds(each, 4);
        assert.deepEqual(done, ["stop gw-gateway.service"]);
        assert.equal(said.filter((line) => line.includes("no bus")).length, 1);
    });

    it("gets a new token when the service rejects the old one", async () => {
        const { watcher: each, done } = watcher();
        await each.round();
        fake.valid = "another";
        fake.data.set("spot/instance-action", SPOT);
        await each.round();
        assert.deepEqual(done, ["stop gw-gateway.service"]);
    });

    it("continues without the metadata service, and logs it once", async () => {
        const { said } = watcher();
        const away = new Watcher({ ...settings, metadata: "" }, new MetadataService("http://127.0.0.1:1"), {
            systemctl: assert.fail,
            complete: assert.fail,
            tryDisk: () => undefined,
            say: (line) => said.push(line),
        });
        await rounds(away, 3);
        assert.equal(said.length, 1);
        assert.match(said[0] ?? "", /metadata service does not answer/);
    });

    it("is unhealthy after three failed writes in a row, and healthy after three good ones", async () => {
        let full = false;
        const { watcher: each, done } = watcher(
            {},
            {
                tryDisk: () => {
                    if (full) throw new Error("ENOSPC");
                },
            },
        );
        full = true;
        await rounds(each, 2);
        full = false;
        await each.round();
        full = true;
        await rounds(each, 2);
        assert.deepEqual(done, []);
        await rounds(each, 3);
        assert.deepEqual(done, ["stop gw-gateway-health.service"]);
        full = false;
        await rounds(each, 4);
        assert.deepEqual(done, ["stop gw-gateway-health.service", "start gw-gateway-health.service"]);
    });
});

describe("the watcher's parts", () => {
    it("judge: a group's decision takes precedence over a notice", () => {
        const all = { spot: SPOT, rebalance: "{}", lifecycle: "Terminated" };
        assert.equal(judge(all, settings).held, true);
        assert.equal(judge({ ...all, lifecycle: "InService" }, settings).held, false);
        const none = { spot: undefined, rebalance: undefined, lifecycle: "Standby" };
        assert.deepEqual(judge(none, settings), { held: false });
    });

    it("tryDisk leaves no file behind, and fails if the disk accepts no writes", () => {
        const folder = mkdtempSync(join(tmpdir(), "gateway-disk-"));
        try {
            tryDisk(folder);
            assert.deepEqual(readdirSync(folder), []);
        } finally {
            rmSync(folder, { recursive: true });
        }
        assert.throws(() => tryDisk("/proc/self"));
    });

    it("completeLifecycleAction succeeds if no hook holds the instance, and fails on other errors", async () => {
        let code = "ValidationError";
        let message = "No active Lifecycle Action found with instance ID i-0";
        let sent = "";
        const server = createServer((request, response) => {
            request.on("data", (part: Buffer) => {
                sent += part;
            });
            request.on("end", () => {
                const body = `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`;
                response.writeHead(400, { "content-type": "text/xml" }).end(body);
            });
        });
        await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
        const credentials = awsCredentials();
        credentials.set();
        const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        try {
            await completeLifecycleAction({ ...hook, endpoint }, "i-0");
            assert.match(sent, /Action=CompleteLifecycleAction/);
            assert.match(sent, /LifecycleActionResult=CONTINUE/);
            [code, message] = ["AccessDenied", "not authorized"];
            await assert.rejects(completeLifecycleAction({ ...hook, endpoint }, "i-0"), /not authorized/);
        } finally {
            credentials.unset();
            server.closeAllConnections();
            await new Promise((done) => server.close(done));
        }
    });
});
