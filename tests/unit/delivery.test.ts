import * as assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeOpenStack } from "../../bench/fakes/openstackApi";
import { CloudSession } from "../../clients/keystone";
import { create as createCredentials } from "../../components/credentials/credentialsProvider";
import { cloudLogin } from "../../components/openstack/cloudsYaml";
import {
    answerOf,
    create,
    diff,
    novaServer,
    type ReadinessInputs,
    step,
    update,
} from "../../components/openstack/readinessProvider";
import { waitFor } from "../../lib/wait";
import { deliveryIn, deliveryKeys, deliveryMetadata, MAILBOX_BYTES, messageText } from "../../programs/boot/delivery";
import { Mailbox, OpenstackMetadata } from "../../programs/boot/mailbox";
import { becomeReady } from "../../programs/boot/readiness";
import { makeKeys, seal, unseal } from "../../programs/boot/sealed";
import { readSecrets } from "../../programs/boot/secrets";
import type { System } from "../../programs/boot/system";
import { NovaServer } from "./support/novaServer";

const FILE = "/etc/gateway/delivery.json";
const PAUSE = 5;

describe("a text sealed for one machine", () => {
    it("is read by that machine only, and only as it was written", () => {
        const [machine, other] = [makeKeys(), makeKeys()];
        const sealed = seal(machine.publicKey, "the text");
        assert.equal(unseal(machine, sealed), "the text");
        assert.throws(() => unseal(other, sealed));
        const bytes = Buffer.from(sealed, "base64url");
        for (const position of [0, 33, 45, 61, bytes.length - 1]) {
            const forged = Buffer.from(bytes);
            forged.writeUInt8(forged.readUInt8(position) ^ 1, position);
            assert.throws(() => unseal(machine, forged.toString("base64url")), `byte ${position}`);
        }
        assert.notEqual(seal(machine.publicKey, "the text"), sealed);
        assert.throws(() => seal("no key", "the text"));
    });

    it("fits with all secrets of a deployment into a server's metadata, and its key into the mailbox", async () => {
        const { outs } = await createCredentials({ datacenter: "dc1", servers: ["10.30.0.11"] });
        const { publicKey } = makeKeys();
        assert.ok(messageText({ kind: "key", key: publicKey }).length <= MAILBOX_BYTES);
        const metadata = deliveryMetadata(seal(publicKey, JSON.stringify({ secrets: outs.secrets, gates: [] })));
        // Nova's own quota is 128 items, of 255 characters.
        assert.ok(Object.keys(metadata).length < 30, `${Object.keys(metadata).length} items`);
        for (const [key, value] of Object.entries(metadata)) assert.ok(key.length < 255 && value.length <= 255, key);
        assert.throws(() => deliveryMetadata("x".repeat(30_000)), /too large for metadata/);
    });

    it("is not taken for whole when a part is missing", () => {
        const metadata = deliveryMetadata("y".repeat(600));
        assert.equal(deliveryIn({ other: "z", ...metadata }), "y".repeat(600));
        const { "gateway-delivery-1": _, ...torn } = metadata;
        assert.equal(deliveryIn(torn), undefined);
        assert.equal(deliveryIn({}), undefined);
        assert.deepEqual(deliveryKeys({ "gateway-slot": "gw-0", ...metadata }).sort(), Object.keys(metadata).sort());
    });
});

describe("secrets and readiness by way of Nova", () => {
    const cloud = new FakeOpenStack();
    let nova: NovaServer;
    let root: string;
    let said: string[];
    let system: System;
    let environment: string | undefined;

    before(() => cloud.start());
    after(() => cloud.stop());
    beforeEach(async () => {
        root = mkdtempSync(join(tmpdir(), "gateway-mailbox-"));
        said = [];
        system = { root, run: async () => "Id=a\nActiveState=active\n", say: (line) => said.push(line) };
        nova = new NovaServer("5f2c1b9e-0000-4000-8000-000000000001");
        await nova.start();
        nova.at(cloud);
        environment = process.env.OS_CLIENT_CONFIG_FILE;
        process.env.OS_CLIENT_CONFIG_FILE = join(root, "clouds.yaml");
        writeFileSync(
            join(root, "clouds.yaml"),
            `clouds:
  lab:
    auth_type: v3applicationcredential
    auth: { auth_url: "${cloud.url}/identity", application_credential_id: "id", application_credential_secret: "secret" }
    region_name: RegionOne
`,
        );
    });
    afterEach(() => {
        nova.stop();
        if (environment === undefined) delete process.env.OS_CLIENT_CONFIG_FILE;
        else process.env.OS_CLIENT_CONFIG_FILE = environment;
        rmSync(root, { recursive: true, force: true });
    });

    const inputs = (): ReadinessInputs => ({
        cloud: "lab",
        region: "",
        serverId: nova.id,
        secrets: { gossipKey: "the gossip key", token: "the token" },
        gates: [{ kind: "services" }],
        timeoutSeconds: 60,
        lookSeconds: 0.02,
    });
    const api = () => novaServer(new CloudSession(cloudLogin("lab", undefined)), nova.id);
    const mailbox = () => new Mailbox(system, FILE, new OpenstackMetadata(nova.endpoint), PAUSE);
    const kept = () => JSON.parse(readFileSync(join(root, FILE), "utf8")) as { answered: boolean };
    const message = () => JSON.parse(nova.password || "{}") as { kind?: string };
    /** The engine's side, look by look, until a condition holds. */
    const stepUntil = (condition: () => boolean) =>
        waitFor(
            "the engine's side",
            async () => (await step(inputs(), api()).catch(() => false)) || condition(),
            10_000,
            2,
        );

    it("reach a new machine, whose answer ends the wait, and leave nothing behind", async () => {
        const gate = create(inputs());
        const box = mailbox();
        assert.deepEqual((await box.delivery()).secrets, inputs().secrets);
        assert.equal(statSync(join(root, FILE)).mode & 0o777, 0o600);
        assert.equal(existsSync(join(root, `${FILE}.key`)), false);
        await box.answer();
        const { outs } = await gate;
        assert.deepEqual(outs, inputs());
        assert.deepEqual(nova.metadata, { "gateway-deployment": "test" });
        assert.equal(nova.password, "");
        assert.equal(kept().answered, true);
        assert.deepEqual(said, ["asked for the secrets", "got the secrets", "said that all services are ready"]);
    });

    it("are in the clear nowhere at the API", async () => {
        const seen: string[] = [];
        nova.at(cloud);
        const answer = cloud.reply;
        cloud.reply = (call) => {
            seen.push(JSON.stringify([call, nova.metadata, nova.password]));
            return answer(call);
        };
        const gate = create(inputs());
        const box = mailbox();
        await box.delivery();
        await box.answer();
        await gate;
        for (const secret of Object.values(inputs().secrets)) assert.ok(!seen.join().includes(secret), secret);
        assert.ok(seen.some((text) => text.includes("gateway-delivery-0")));
    });

    it("are kept on the machine: later boots ask for nothing, and say nothing again", async () => {
        const gate = create(inputs());
        await mailbox().delivery();
        await mailbox().answer();
        await gate;
        nova.fault = () => 500;
        assert.equal((await mailbox().delivery()).secrets.token, "the token");
        await mailbox().answer();
    });

    it("go on where the machine was killed: behind the key, and behind the secrets", async () => {
        // Killed when it had asked.
        nova.fault = (_, path) => (path === "meta_data.json" && nova.password !== "" ? 500 : undefined);
        await assert.rejects(mailbox().delivery(), /answers 500/);
        nova.fault = () => undefined;
        assert.equal(message().kind, "key");
        // The engine answers the key of before.
        await stepUntil(() => deliveryIn(nova.metadata) !== undefined);
        assert.equal((await mailbox().delivery()).secrets.token, "the token");
        // Killed before it could answer: what it got is there.
        const gate = create(inputs());
        await mailbox().answer();
        await gate;
    });

    it("go on where the engine was killed: behind the delivery, and behind the answer", async () => {
        const box = mailbox();
        const delivery = box.delivery();
        await stepUntil(() => deliveryIn(nova.metadata) !== undefined);
        await delivery;
        const answer = box.answer();
        await waitFor("the answer", () => message().kind === "ready", 5_000, 2);
        // Cut off in the middle of tidying up.
        await api().drop(["gateway-delivery"]);
        await create(inputs());
        await answer;
        assert.deepEqual(nova.metadata, { "gateway-deployment": "test" });
    });

    it("come through although the metadata service knows things late", async () => {
        const refresh = () => {
            nova.kept = { metadata: nova.metadata, password: nova.password };
        };
        refresh();
        const timer = setInterval(refresh, 60);
        try {
            const gate = create(inputs());
            const box = mailbox();
            await box.delivery();
            await box.answer();
            await gate;
            assert.deepEqual(nova.metadata, { "gateway-deployment": "test" });
        } finally {
            clearInterval(timer);
        }
    });

    it("are never gone while a machine that asked again waits: it would think that its answer has arrived", async () => {
        const { publicKey } = makeKeys();
        const ask = () => {
            nova.password = messageText({ kind: "key", key: publicKey });
        };
        ask();
        assert.equal(await step(inputs(), api()), false);
        const seen: boolean[] = [];
        cloud.reply = (call) => {
            const reply = nova.fromOutside(call);
            seen.push(deliveryIn(nova.metadata) !== undefined);
            return reply;
        };
        ask();
        assert.equal(await step(inputs(), api()), false);
        assert.ok(seen.length > 2);
        assert.ok(!seen.includes(false));
    });

    it("wait out what the metadata service does not answer for a while", async () => {
        nova.fault = () => 500;
        await assert.rejects(mailbox().delivery(), /the metadata service answers 500 to meta_data.json/);
        nova.stop();
        await assert.rejects(mailbox().delivery(), /the metadata service cannot be asked/);
    });

    it("are for the machine that asked: another one's answer is none", async () => {
        nova.password = messageText({ kind: "ready", answer: answerOf({ ...inputs(), serverId: "another server" }) });
        await assert.rejects(step(inputs(), api()), /has not asked for its secrets yet/);
        nova.password = messageText({ kind: "ready", answer: answerOf(inputs()) });
        assert.equal(await step(inputs(), api()), true);
        nova.password = "somebody's password";
        await assert.rejects(step(inputs(), api()), /has not asked for its secrets yet/);
        Object.assign(nova.metadata, deliveryMetadata("sealed"));
        await assert.rejects(step(inputs(), api()), /has its secrets, and its services are not all ready/);
    });

    it("are not waited for when the server is gone or has failed", async () => {
        nova.status = "ERROR";
        await assert.rejects(create(inputs()), /is in ERROR/);
        cloud.reply = () => undefined;
        await assert.rejects(create(inputs()), /the server .* is gone/);
    });

    it("are given up after their time, with what was waited for", async () => {
        await assert.rejects(
            create({ ...inputs(), timeoutSeconds: 0 }),
            /the server 5f2c1b9e\S+ took longer than 0 s: it has not asked for its secrets yet/,
        );
    });

    it("are given again to another server only", async () => {
        assert.deepEqual(await diff("x", inputs(), { ...inputs(), timeoutSeconds: 1, gates: [] }), {
            changes: false,
            replaces: [],
        });
        assert.equal((await diff("x", { ...inputs(), serverId: "before" }, inputs())).changes, true);
        const gate = update("x", { ...inputs(), serverId: "before" }, inputs());
        await mailbox().delivery();
        await mailbox().answer();
        assert.equal((await gate).outs.serverId, nova.id);
    });

    it("are told to the boot program, which names what is missing", async () => {
        const gate = create(inputs());
        const source = { kind: "delivered", endpoint: nova.endpoint } as const;
        assert.equal((await readSecrets(source, ["token"], system, "/etc/gateway")).token, "the token");
        await assert.rejects(readSecrets(source, ["other"], system, "/etc/gateway"), /the delivery lacks other/);
        await mailbox().answer();
        await gate;
    });

    it("need an application credential in clouds.yaml", () => {
        assert.throws(() => cloudLogin("nowhere", undefined), /has no cloud "nowhere" \(gateway:openstack.cloud\)/);
        const auth = "auth: { auth_url: http://127.0.0.1:1, username: me, password: mine }";
        writeFileSync(join(root, "clouds.yaml"), `clouds:\n  lab:\n    ${auth}\n`);
        assert.throws(() => cloudLogin("lab", undefined), /has to have auth_type v3applicationcredential/);
        const secure = "auth: { application_credential_id: id, application_credential_secret: hidden }";
        writeFileSync(join(root, "secure.yaml"), `clouds:\n  lab:\n    ${secure}\n`);
        assert.equal(cloudLogin("lab", "RegionTwo").secret, "hidden");
        assert.equal(cloudLogin("lab", "RegionTwo").region, "RegionTwo");
        process.env.OS_CLIENT_CONFIG_FILE = join(root, "absent.yaml");
        assert.throws(() => cloudLogin("lab", undefined), /there is no clouds.yaml: looked for .*absent.yaml/);
    });
});

describe("a machine's gates", () => {
    const machine = {
        units: ["consul", "consul-acl"].map((name) => ({ name: `gw-${name}.service`, content: "" })),
        secrets: { kind: "delivered" },
        directories: { etc: "/etc/gateway", lib: "/var/lib/gateway", run: "/run/gateway", bin: "/opt/gateway/bin" },
    } as const;
    const systemWith = (states: Record<string, string>, root = "/"): System => ({
        root,
        run: async () =>
            Object.entries(states)
                .map(([name, state]) => `Id=gw-${name}.service\nActiveState=${state}\n`)
                .join("\n"),
        say: () => undefined,
    });
    const waiting = { consul: "active", "consul-acl": "activating" };
    /** What a machine with these gates does: whether it says that it is ready. */
    const answers = async (system: System, gates: Parameters<typeof deliver>[0]) => {
        let answered = false;
        const answer = async () => {
            answered = true;
        };
        const box = { ...deliver(gates), answer };
        await becomeReady(system, machine, 0, box);
        return answered;
    };
    const deliver = (gates: Awaited<ReturnType<Mailbox["delivery"]>>["gates"]) => ({
        delivery: async () => ({ secrets: {}, gates, answer: "", answered: false }),
    });

    it("hold until all services are ready", async () => {
        assert.equal(await answers(systemWith({ consul: "active" }), [{ kind: "services" }]), true);
        await assert.rejects(
            answers(systemWith(waiting), [{ kind: "services" }]),
            /start of the services .* gw-consul-acl.service is activating/,
        );
    });

    it("let the first Consul servers pass as long as no other one has a leader, and hold them back when one has", async () => {
        const { outs } = await createCredentials({ datacenter: "dc1", servers: ["127.0.0.1"] });
        let leader = false;
        const other = createServer(
            { cert: outs.serverCertificate, key: outs.secrets.serverKey ?? "" },
            (request, response) =>
                response.writeHead(request.url === "/v1/catalog/services" && leader ? 200 : 500).end(),
        );
        await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
        const root = mkdtempSync(join(tmpdir(), "gateway-gates-"));
        try {
            mkdirSync(join(root, "etc"));
            writeFileSync(join(root, "etc/ca.pem"), outs.caCertificate);
            const url = `https://127.0.0.1:${(other.address() as AddressInfo).port}`;
            const gate = { kind: "server", except: ["consul-acl"], caFile: "/etc/ca.pem" } as const;
            const others = [url, "https://127.0.0.1:1"];
            assert.equal(await answers(systemWith(waiting, root), [{ ...gate, others }]), true);
            leader = true;
            await assert.rejects(
                answers(systemWith(waiting, root), [{ ...gate, others }]),
                /gw-consul-acl.service is activating/,
            );
            assert.equal(await answers(systemWith({ consul: "active" }, root), [{ ...gate, others }]), true);
            // What may be missing is named; anything else is waited for in any case.
            leader = false;
            await assert.rejects(
                answers(systemWith({ consul: "failed" }, root), [{ ...gate, others }]),
                /gw-consul.service is failed/,
            );
        } finally {
            rmSync(root, { recursive: true });
            other.closeAllConnections();
            await new Promise((done) => other.close(done));
        }
    });
});
