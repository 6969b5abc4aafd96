import * as assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import { ConsulHttp } from "../../clients/consul";
import * as credentials from "../../components/credentials/credentialsProvider";
import { secretsProblem } from "../../engine/secretsCheck";
import {
    type Alarm,
    AlarmMetrics,
    Alarms,
    type CheckedState,
    certificatesIn,
    checksOf,
    electionCheck,
    watch,
} from "../../programs/replacer/checks";

const DAY = 86_400;
/** As `pulumi stack init` wrote it for the passphrase "correct horse". */
const SALT = "v1:XTzFYNoXn3o=:v1:idpAe3ayeGnsj+BW:JDZN5fPdKi6EgINt0SuS/PD24uVnRQ==";
const state = (resources: CheckedState["resources"] = []): CheckedState => ({
    secrets_providers: { type: "passphrase", state: { salt: SALT } },
    resources,
});

describe("what the loop checks before it needs it", () => {
    let folder: string;
    before(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-checks-"));
    });
    after(() => rmSync(folder, { recursive: true }));
    const file = (name: string, text: string) => {
        writeFileSync(join(folder, name), text);
        return join(folder, name);
    };

    describe("the passphrase of the stack's secrets", () => {
        it("is the one that the engine would take, from the variable, or else from the file, without white space", async () => {
            const right = { PULUMI_CONFIG_PASSPHRASE: "correct horse" };
            const fromFile = { PULUMI_CONFIG_PASSPHRASE_FILE: file("right", "correct horse\n") };
            assert.equal(await secretsProblem(state(), right), undefined);
            assert.equal(await secretsProblem(state(), fromFile), undefined);
            const wrongFile = { PULUMI_CONFIG_PASSPHRASE_FILE: file("wrong", "battery staple") };
            assert.equal(await secretsProblem(state(), { ...wrongFile, ...right }), undefined);
            // An empty variable counts, as it does for the engine.
            const empty = { ...fromFile, PULUMI_CONFIG_PASSPHRASE: "" };
            assert.match((await secretsProblem(state(), empty)) ?? "", /passphrase in PULUMI_CONFIG_PASSPHRASE is not/);
        });

        it("is wrong, missing or unreadable, and each is said in its own words", async () => {
            const found = (environment: NodeJS.ProcessEnv) => secretsProblem(state(), environment);
            const wrong = file("wrong", "battery staple");
            assert.equal(
                await found({ PULUMI_CONFIG_PASSPHRASE_FILE: wrong }),
                `the passphrase in ${wrong} is not the one that the stack was deployed with`,
            );
            assert.match(
                (await found({})) ?? "",
                /^neither PULUMI_CONFIG_PASSPHRASE nor PULUMI_CONFIG_PASSPHRASE_FILE/,
            );
            const missing = { PULUMI_CONFIG_PASSPHRASE_FILE: join(folder, "missing") };
            assert.match((await found(missing)) ?? "", /cannot be read: ENOENT/);
        });

        it("is not asked for where the stack has none", async () => {
            assert.equal(await secretsProblem({}, {}), undefined);
            assert.equal(await secretsProblem({ secrets_providers: { type: "service" } }, {}), undefined);
        });
    });

    describe("the certificates", () => {
        let outs: credentials.CredentialsOutputs;
        let resources: NonNullable<CheckedState["resources"]>;
        before(async () => {
            ({ outs } = await credentials.create({ datacenter: "dc1", servers: ["127.90.0.11"] }));
            resources = [{ type: "pulumi-nodejs:dynamic/gateway:Credentials", outputs: { ...outs } }];
        });
        const find = async (daysLeft: number, told: [string, number][] = []) => {
            const now = Date.parse(outs.expiresAt) / 1000 - daysLeft * DAY;
            const checks = checksOf({
                state: async () => state(resources),
                now: () => now,
                ends: (name, time) => void told.push([name, Math.round((time - now) / DAY)]),
            });
            return checks.find(({ name }) => name === "certificate")?.find();
        };

        it("are found in the state, in use only", () => {
            assert.deepEqual(
                certificatesIn(resources).map(({ name }) => name),
                ["servers", "authority"],
            );
            assert.deepEqual(certificatesIn(resources.map((each) => ({ ...each, delete: true }))), []);
            assert.deepEqual(certificatesIn([{ type: "other" }]), []);
        });

        it("are an alarm months before they end, with what helps, and a metric all the time", async () => {
            const told: [string, number][] = [];
            assert.equal(await find(91, told), undefined);
            assert.deepEqual(told, [
                ["servers", 91],
                ["authority", 91 + 3650 - 825],
            ]);
            const date = outs.expiresAt.slice(0, 10);
            assert.equal(
                await find(89),
                `the Consul servers' certificate ends on ${date}: deploy the stack, which renews it`,
            );
            assert.match((await find(-1)) ?? "", /certificate ended on/);
            assert.match(
                (await find(-(3650 - 825) + 364)) ?? "",
                /; the authority's certificate ends on .*: plan a new/,
            );
        });

        it("are renewed by a deployment before they are an alarm, and never by a replacement", async () => {
            const inputs = { datacenter: "dc1", servers: ["127.90.0.11"] };
            const changes = async (days: number) => {
                const expiresAt = new Date(Date.now() + days * DAY * 1000).toISOString();
                return (await credentials.diff("id", { ...outs, expiresAt }, inputs)).changes;
            };
            assert.deepEqual(await Promise.all([121, 119, 29, -1].map(changes)), [false, true, true, true]);
            process.env.GATEWAY_REPLACEMENT_RUN = "true";
            try {
                assert.deepEqual(await Promise.all([121, 119, 29, -1].map(changes)), [false, false, false, false]);
            } finally {
                delete process.env.GATEWAY_REPLACEMENT_RUN;
            }
        });
    });

    describe("the gossip key", () => {
        const ring = (Keys: Record<string, number>, PrimaryKeys?: Record<string, number>) => [
            { WAN: true, Keys: { old: 3 }, PrimaryKeys: { old: 3 }, NumNodes: 3 },
            { WAN: false, Keys, ...(PrimaryKeys ? { PrimaryKeys } : {}), NumNodes: 7 },
        ];
        const find = async (answer: unknown, status = 200) => {
            const server = createServer((request, response) => {
                assert.equal(request.url, "/v1/operator/keyring");
                response.writeHead(status).end(JSON.stringify(answer));
            });
            await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
            try {
                const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
                const checks = checksOf({
                    state: async () => undefined,
                    consul: new ConsulHttp({ addresses: [url], timeoutSeconds: 5 }),
                    gossipKeyFile: file("key", "old\n"),
                    now: () => 0,
                });
                return await checks.find(({ name }) => name === "gossipKey")?.find();
            } finally {
                server.close();
                server.closeAllConnections();
            }
        };

        it("of the deployment is known to all members, and used by all", async () => {
            assert.equal(await find(ring({ old: 7 }, { old: 7 })), undefined);
            assert.equal(await find(ring({ old: 7, new: 7 }, { old: 7 })), undefined);
            assert.equal(await find(ring({ old: 7 })), undefined, "an older Consul does not tell which is used");
        });

        it("is an alarm when another one is used, or it is gone, and is not told", async () => {
            const used = await find(ring({ old: 7, new: 7 }, { new: 7 }));
            assert.match(used ?? "", /changed outside of the deployment: 0 of 7 use the deployment's key/);
            const gone = await find(ring({ new: 7 }, { new: 7 }));
            assert.match(gone ?? "", /0 of 7 know the deployment's key, so machines that are replaced cannot join/);
            assert.match((await find(ring({ old: 6, new: 7 }, { old: 6, new: 1 }))) ?? "", /6 of 7 know/);
            for (const text of [used, gone]) assert.doesNotMatch(text ?? "", /\bnew\b/);
        });

        it("says nothing when Consul does not", async () => {
            await assert.rejects(find("Permission denied", 403), /403/);
        });
    });

    it("raises an alarm when the loop neither leads nor stands by, in the same words for as long as that lasts", async () => {
        let [now, last] = [1_000, 1_000];
        const { find } = electionCheck(
            () => last,
            60,
            () => now,
        );
        now = 1_060;
        assert.equal(await find(), undefined);
        now = 1_061;
        const text = await find();
        assert.match(text ?? "", /neither led nor stood by since 1970-01-01T00:16:40\.000Z: Consul has no leader/);
        now = 2_000;
        assert.equal(await find(), text);
        last = 1_990;
        assert.equal(await find(), undefined);
    });

    it("tells an alarm when it begins, changes and ends, and a check that fails once", async () => {
        const results: (string | undefined | Error)[] = ["a", "a", new Error("no"), new Error("no"), "b", undefined];
        const stop = new AbortController();
        const said: unknown[] = [];
        const registry = new Registry();
        const metrics = new AlarmMetrics(registry);
        const seen: (readonly Alarm[])[] = [];
        let now = 100;
        const clock = {
            now: () => now,
            sleep: async () => {
                now += 1;
                seen.push(alarms.all());
                if (results.length === 0) stop.abort();
            },
        };
        const alarms = new Alarms(clock, (alarm, ended) => {
            metrics.told(alarm, ended);
            said.push([alarm.text, alarm.since, ended]);
        });
        await watch({
            checks: [
                {
                    name: "certificate",
                    async find() {
                        const next = results.shift();
                        if (next instanceof Error) throw next;
                        return next;
                    },
                },
            ],
            alarms,
            clock,
            signal: stop.signal,
            seconds: 1,
            failed: (name, message) => said.push([name, message]),
        });
        assert.deepEqual(said, [
            ["a", 100, false],
            ["certificate", "no"],
            ["b", 100, false],
            ["b", 100, true],
        ]);
        assert.deepEqual(
            seen.map((alarms) => alarms.map(({ text }) => text)),
            [["a"], ["a"], ["a"], ["a"], ["b"], []],
        );
        assert.match(await registry.metrics(), /^gateway_replacement_alarm\{alarm="certificate"\} 0$/m);
    });
});
