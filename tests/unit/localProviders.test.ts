import * as assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import * as credentials from "../../components/credentials/credentialsProvider";
import * as machines from "../../components/local/machineProvider";
import { secretRef } from "../../programs/machine";
import { tokenSecrets } from "../../roles/consulAcl";
import { processLayout, renderProcess } from "../../roles/render/process";

const inputs = { datacenter: "dc1", servers: ["127.90.0.11", "127.90.0.12", "127.90.0.13"] };
const DAY = 24 * 60 * 60 * 1000;

describe("the credentials of a local deployment", () => {
    let outs: credentials.CredentialsOutputs;
    before(async () => {
        outs = (await credentials.create(inputs)).outs;
    });

    /** Fails unless the servers' certificate is signed by the authority and belongs to its key. */
    const assertChain = (given: credentials.CredentialsOutputs) => {
        const authority = new X509Certificate(given.caCertificate);
        const server = new X509Certificate(given.serverCertificate);
        assert.ok(authority.verify(authority.publicKey), "the authority signed itself");
        assert.ok(server.checkIssued(authority));
        assert.ok(server.verify(authority.publicKey), "the authority signed the servers' certificate");
        assert.ok(server.checkPrivateKey(createPrivateKey(given.secrets.serverKey ?? "")));
        assert.ok(authority.checkPrivateKey(createPrivateKey(given.secrets.caKey ?? "")));
        return { authority, server };
    };

    it("are a chain of two certificates, of which one may sign", () => {
        const { authority, server } = assertChain(outs);
        assert.equal(authority.ca, true);
        assert.equal(server.ca, false);
        // serverAuth and clientAuth: Consul's servers call each other.
        assert.deepEqual(server.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    });

    it("name the servers by Consul's name and by their addresses", () => {
        const { server } = assertChain(outs);
        assert.deepEqual(server.subjectAltName?.split(", "), [
            "DNS:server.dc1.consul",
            "DNS:localhost",
            ...inputs.servers.map((address) => `IP Address:${address}`),
        ]);
        assert.equal(server.subject, "CN=server.dc1.consul");
        for (const address of inputs.servers) assert.equal(server.checkIP(address), address);
        assert.equal(server.checkIP("127.90.0.14"), undefined);
    });

    it("are valid now, and until when they say", () => {
        const { authority, server } = assertChain(outs);
        const ends = Date.parse(server.validTo);
        assert.ok(Date.parse(server.validFrom) <= Date.now() && Date.parse(authority.validFrom) <= Date.now());
        // A certificate's times are whole seconds.
        assert.ok(Math.abs(ends - Date.parse(outs.expiresAt)) <= 1000);
        assert.ok(Date.parse(authority.validTo) > ends);
    });

    it("hold every token with its accessor, all different, and a gossip key of 32 bytes", () => {
        const { gossipKey, serfRpcKey, caKey, serverKey, ...tokens } = outs.secrets;
        assert.deepEqual(Object.keys(tokens).sort(), tokenSecrets.flatMap((name) => [name, `${name}Accessor`]).sort());
        for (const token of Object.values(tokens)) assert.match(token, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
        assert.equal(new Set(Object.values(tokens)).size, Object.keys(tokens).length);
        assert.equal(Buffer.from(gossipKey ?? "", "base64").length, 32);
        assert.equal(Buffer.from(serfRpcKey ?? "", "base64url").length, 24);
        assert.notEqual(caKey, serverKey);
    });

    it("refuse the change between Consul and Serf before anything is done, with the reason and the remedy", async () => {
        const serf = { ...inputs, servers: [], registry: "serf" } as const;
        const refusal = async (olds: object, news: credentials.CredentialsInputs) =>
            (await credentials.check(olds, news)).failures.map(({ reason }) => reason).join();
        assert.match(await refusal(inputs, serf), /cannot change .* fabio to serf-haproxy .* second environment/);
        assert.match(await refusal(serf, inputs), /cannot change .* serf-haproxy to consul-template-haproxy/);
        for (const [olds, news] of [
            [{}, serf],
            [{}, inputs],
            [inputs, inputs],
            [serf, serf],
        ] as const) {
            assert.equal(await refusal(olds, news), "");
        }
    });

    it("refuse another name of the service before anything is done, and take one for a deployment that had none", async () => {
        const named = (gatewayService: string) => ({ ...inputs, gatewayService });
        const refusal = async (olds: object, news: credentials.CredentialsInputs) =>
            (await credentials.check(olds, news)).failures
                .map(({ property, reason }) => `${property}: ${reason}`)
                .join();
        assert.match(await refusal(named("a"), named("b")), /^gatewayService: .* from a to b .* second environment/);
        assert.equal(await refusal(named("a"), named("a")), "");
        assert.equal(await refusal(inputs, named("a")), "");
        assert.equal(await refusal({}, named("a")), "");
        assert.deepEqual(await credentials.diff("id", outs, named("a")), { changes: false, replaces: [] });
    });

    it("have no secret outside of secrets", () => {
        const { secrets, ...open } = outs;
        const text = JSON.stringify(open);
        assert.doesNotMatch(text, /PRIVATE KEY/);
        for (const [name, value] of Object.entries(secrets)) {
            const oneLine = JSON.stringify(value).slice(1, -1);
            assert.ok(!text.includes(oneLine), name);
        }
    });

    it("are different for each deployment", async () => {
        const other = (await credentials.create(inputs)).outs;
        for (const [name, value] of Object.entries(other.secrets)) assert.notEqual(value, outs.secrets[name], name);
        assert.notEqual(other.caCertificate, outs.caCertificate);
    });

    it("take given keys when they are created, and keep the keys that they have", async () => {
        const keys = { gossipKey: Buffer.alloc(32, 7).toString("base64"), serfRpcKey: "given" };
        const { outs: made } = await credentials.create({ ...inputs, keys });
        assert.equal(made.secrets.gossipKey, keys.gossipKey);
        assert.equal(made.secrets.serfRpcKey, keys.serfRpcKey);
        assert.ok(!("keys" in made));
        assert.equal((await credentials.diff("id", outs, { ...inputs, keys })).changes, false);
        const { outs: updated } = await credentials.update("id", outs, { ...inputs, servers: ["127.90.0.11"], keys });
        assert.equal(updated.secrets.gossipKey, outs.secrets.gossipKey);
        assert.equal(updated.secrets.serfRpcKey, outs.secrets.serfRpcKey);
    });

    it("keep the authority and every token at an update, and name the new servers", async () => {
        const news = { datacenter: "dc1", servers: ["127.90.0.11"] };
        const { outs: updated } = await credentials.update("id", outs, news);
        assert.equal(updated.caCertificate, outs.caCertificate);
        const { serverKey: oldKey, ...kept } = outs.secrets;
        const { serverKey: newKey, ...after } = updated.secrets;
        assert.deepEqual(after, kept);
        assert.notEqual(newKey, oldKey);
        const { server } = assertChain(updated);
        assert.equal(server.checkIP("127.90.0.12"), undefined);
        assert.deepEqual(updated.servers, news.servers);
    });

    it("get a token that a newer version needs, at an update", async () => {
        const { replacerToken, ...secrets } = outs.secrets;
        const olds = { ...outs, secrets };
        assert.equal((await credentials.diff("id", olds, inputs)).changes, true);
        const { outs: updated } = await credentials.update("id", olds, inputs);
        assert.ok(updated.secrets.replacerToken);
        assert.equal(updated.secrets.managementToken, outs.secrets.managementToken);
    });

    it("change for other servers, another datacenter, and before they expire; and are never replaced", async () => {
        const changes = async (olds: credentials.CredentialsOutputs, news: credentials.CredentialsInputs) => {
            const diff = await credentials.diff("id", olds, news);
            assert.deepEqual(diff.replaces, []);
            return diff.changes;
        };
        const expiring = (days: number) => ({ ...outs, expiresAt: new Date(Date.now() + days * DAY).toISOString() });
        assert.equal(await changes(outs, inputs), false);
        assert.equal(await changes(outs, { ...inputs, datacenter: "dc2" }), true);
        assert.equal(await changes(outs, { ...inputs, servers: inputs.servers.slice(1) }), true);
        assert.equal(await changes(expiring(121), inputs), false);
        assert.equal(await changes(expiring(119), inputs), true);
    });

    it("are read as they stand in the state", async () => {
        assert.deepEqual(await credentials.read("id", outs), { id: "id", props: outs });
    });
});

describe("a machine's differences", () => {
    const layout = processLayout("gw-0", "127.90.0.50");
    const given = (
        onChange: "replace" | "update",
        environment: Record<string, string> = {},
        at = layout,
    ): machines.InstanceInputs => ({
        machine: renderProcess(
            {
                name: "gateway",
                files: [{ path: "etc/token", content: secretRef("token") }],
                services: [{ name: "s", description: "", argv: ["/bin/sleep", "1000"], environment, user: "nobody" }],
                binaries: [],
                users: [],
                ports: [],
                healthChecks: [],
            },
            at,
        ),
        secrets: { token: "a" },
        onChange,
        gates: { create: [{ kind: "services" }], update: [] },
    });
    const deployed = (of: machines.InstanceInputs): machines.InstanceOutputs => ({
        ...of,
        name: of.machine.name,
        address: of.machine.address,
        incarnation: "i",
    });
    const diff = (olds: machines.InstanceInputs, news: machines.InstanceInputs) =>
        machines.diff("gw-0/i", deployed(olds), news);
    /** The same values with the keys in another order, as they may come back from the state. */
    const turned = <T>(value: T): T =>
        Array.isArray(value)
            ? (value.map(turned) as T)
            : value !== null && typeof value === "object"
              ? (Object.fromEntries(
                    Object.entries(value)
                        .reverse()
                        .map(([key, inner]) => [key, turned(inner)]),
                ) as T)
              : value;

    it("are none when nothing differs but the order of keys", async () => {
        const result = await diff(turned(given("replace", { A: "1", B: "2" })), given("replace", { A: "1", B: "2" }));
        assert.deepEqual(result, { changes: false, replaces: [], deleteBeforeReplace: true });
    });

    it("replace a gateway: its environment", async () => {
        const result = await diff(given("replace"), given("replace", { GREETING: "hello" }));
        assert.deepEqual(result, { changes: true, replaces: ["machine"], deleteBeforeReplace: true });
    });

    it("replace a gateway: a secret", async () => {
        const result = await diff(given("replace"), { ...given("replace"), secrets: { token: "b" } });
        assert.deepEqual(result.replaces, ["machine"]);
    });

    it("update what holds state in place: its environment, or a secret", async () => {
        const environment = await diff(given("update"), given("update", { GREETING: "hello" }));
        assert.deepEqual([environment.changes, environment.replaces], [true, []]);
        const secret = await diff(given("update"), { ...given("update"), secrets: { token: "b" } });
        assert.deepEqual([secret.changes, secret.replaces], [true, []]);
    });

    it("replace whatever has another name or address", async () => {
        for (const at of [processLayout("gw-1", "127.90.0.50"), processLayout("gw-0", "127.90.0.51")]) {
            const result = await diff(given("update"), given("update", {}, at));
            assert.deepEqual([result.changes, result.replaces], [true, ["machine"]]);
        }
    });

    it("never replace for what is waited for", async () => {
        const gates = { create: [], update: [] };
        const result = await diff(given("replace"), { ...given("replace"), gates });
        assert.deepEqual([result.changes, result.replaces], [true, []]);
    });
});
