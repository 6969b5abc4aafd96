import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeOpenStack, novaServer } from "../../bench/fakes/openstackApi";
import { CloudSession, LoginRefused } from "../../clients/keystone";
import { openstackInventory } from "../../replacement/act/inventory";
import { isNoRoom, novaControlPlane, viewOf } from "../../replacement/observe/nova";

describe("OpenStack as the control plane", () => {
    let cloud: FakeOpenStack;
    let directory: string;
    let session: CloudSession;
    const options = () => ({
        authUrl: `${cloud.url}/identity/v3`,
        credentialId: "cred",
        secretFile: join(directory, "secret"),
        region: "RegionOne",
        timeoutSeconds: 2,
    });
    const never = new AbortController().signal;
    const slots = [0, 1, 2].map((at) => ({ name: `gw-${at}`, urn: `urn:${at}`, serverId: `s${at}` }));
    const look = () => novaControlPlane(session, { deployment: "jetstream" }).servers(slots, never);

    beforeEach(async () => {
        cloud = new FakeOpenStack();
        await cloud.start();
        directory = mkdtempSync(join(tmpdir(), "nova-"));
        writeFileSync(join(directory, "secret"), "s3cret\n");
        session = new CloudSession(options());
        cloud.servers = slots.map(({ serverId: id, name }) => novaServer({ id, name }));
    });
    afterEach(() => {
        cloud.stop();
        rmSync(directory, { recursive: true });
    });

    it("logs in with the application credential, and once for all questions at a time", async () => {
        await Promise.all([look(), look()]);
        const logins = cloud.calls.filter(({ path }) => path.endsWith("/auth/tokens"));
        assert.deepEqual(logins[0]?.body, {
            auth: {
                identity: {
                    methods: ["application_credential"],
                    application_credential: { id: "cred", secret: "s3cret" },
                },
            },
        });
        assert.ok(logins.length <= 2);
        await look();
        assert.equal(cloud.calls.filter(({ path }) => path.endsWith("/auth/tokens")).length, logins.length);
    });

    it("reads all pages of one list, and asks for no server by itself", async () => {
        cloud.servers.unshift(novaServer({ id: "foreign", metadata: {} }));
        const views = await look();
        assert.deepEqual(
            [...views].map(([name, { state, activeSince }]) => [name, state, activeSince]),
            slots.map(({ name }) => [name, "active", Date.parse("2026-01-01T10:00:25Z") / 1000]),
        );
        const paths = cloud.calls.map(({ path }) => path).filter((path) => path.startsWith("/compute"));
        assert.deepEqual(paths, [
            "/compute/v2.1/servers/detail?limit=200",
            "/compute/v2.1/servers/detail?limit=200&marker=s0",
        ]);
    });

    it("says that a server is gone only when its own address answers 404", async () => {
        cloud.servers = cloud.servers.filter(({ id }) => id !== "s1");
        assert.deepEqual((await look()).get("gw-1"), { state: "gone", detail: "404" });
        // A server that lost its metadata is not in the list, and exists.
        cloud.servers.push(novaServer({ id: "s1", metadata: {} }));
        assert.equal((await look()).get("gw-1")?.state, "active");
        cloud.servers = cloud.servers.filter(({ id }) => id !== "s1");
        cloud.reply = ({ path }) =>
            path.endsWith("/servers/s1")
                ? { status: 403, body: { forbidden: { message: "Policy doesn't allow" } } }
                : undefined;
        assert.deepEqual((await look()).get("gw-1"), { state: "unknown", detail: "403 Policy doesn't allow" });
        cloud.reply = ({ path }) => (path.endsWith("/servers/s1") ? { status: 503 } : undefined);
        assert.equal((await look()).get("gw-1")?.state, "unknown");
    });

    it("is blind when the list fails", async () => {
        for (const reply of [
            { status: 503, body: { error: { message: "down" } } },
            { status: 200, body: { oops: 1 } },
        ]) {
            cloud.reply = ({ path }) => (path.includes("/servers/detail") ? reply : undefined);
            await assert.rejects(look(), /compute: .*(503 down|unexpected answer)/);
        }
        cloud.reply = ({ path }) => (path.includes("tokens") ? { status: 503 } : undefined);
        await assert.rejects(new CloudSession(options()).ask(["compute"], "/"), /identity: 503/);
    });

    it("logs in again when the token is refused, and before it expires", async () => {
        await look();
        cloud.tokens.clear();
        assert.equal((await look()).size, 3);
        cloud.validSeconds = 30;
        cloud.tokens.clear();
        await look();
        const before = cloud.calls.length;
        await look();
        assert.ok(cloud.calls.slice(before).some(({ path }) => path.endsWith("/auth/tokens")));
    });

    it("says what to do when the credential is refused", async () => {
        cloud.reply = ({ path }) =>
            path.endsWith("/auth/tokens") ? { status: 401, body: { error: { message: "Could not find" } } } : undefined;
        await assert.rejects(look(), (error: Error) => {
            assert.ok(error instanceof LoginRefused);
            assert.match(error.message, /refuses the application credential cred.*application credential create/);
            assert.doesNotMatch(error.message, /s3cret/);
            return true;
        });
    });

    it("says which service or region is missing", async () => {
        await assert.rejects(session.ask(["dns"], "/"), /no public endpoint of "dns" in region RegionOne/);
    });

    it("takes each status for what it means", () => {
        const state = (changes: Record<string, unknown>) => viewOf(novaServer(changes) as never);
        const states: Record<string, string> = {
            ...{ ACTIVE: "active", BUILD: "building", REBUILD: "building", ERROR: "error", DELETED: "gone" },
            ...{ SOFT_DELETED: "gone", SHUTOFF: "active", PAUSED: "active", SUSPENDED: "active", UNKNOWN: "active" },
            ...{ VERIFY_RESIZE: "active", SHELVED_OFFLOADED: "active", REBOOT: "active" },
        };
        for (const [status, expected] of Object.entries(states))
            assert.equal(state({ status }).state, expected, status);
        assert.deepEqual(state({ status: "SHUTOFF", "OS-SRV-USG:launched_at": null }), {
            state: "active",
            detail: "SHUTOFF",
        });
        const full = state({
            status: "ERROR",
            fault: {
                code: 500,
                created: "2026-01-01T10:00:00Z",
                message: "No valid host was found. There are not enough hosts available.",
            },
        });
        assert.equal(full.noRoom, true);
        assert.match(full.detail ?? "", /^ERROR: No valid host/);
        assert.equal(state({ status: "ERROR", fault: { code: 500, message: "libvirt failed" } }).noRoom, undefined);
    });

    it("knows the messages of a lack of room", () => {
        const messages = [
            "No valid host was found. There are not enough hosts available.",
            "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures",
            "Quota exceeded for cores: Requested 2, but already used 20 of 20 cores",
            "Insufficient compute resources: Free memory 0.00 MB",
        ];
        for (const message of messages) assert.ok(isNoRoom(message), message);
        assert.equal(isNoRoom("Build of instance aborted: Image could not be found"), false);
    });

    it("finds the deployment's servers by their marks, and parts that belong to none", async () => {
        cloud.servers = [
            novaServer({ id: "a" }),
            novaServer({ id: "b", metadata: { "gateway-deployment": "jetstream", "gateway-slot": "gw-1" } }),
            novaServer({ id: "c", metadata: { "gateway-deployment": "other", "gateway-slot": "gw-0" } }),
        ];
        const inventory = openstackInventory(session, "jetstream");
        const createdAt = Date.parse("2026-01-01T10:00:00Z") / 1000;
        assert.deepEqual(await inventory.servers(never), [
            { id: "a", slot: "gw-0", epoch: 3, createdAt },
            { id: "b", slot: "gw-1", epoch: 0, createdAt },
        ]);
        const ours = { "gateway-deployment": "jetstream" };
        cloud.reply = ({ path }) => {
            if (path.startsWith("/network/v2.0/ports?tags=gateway-deployment%3Djetstream")) {
                return {
                    status: 200,
                    body: {
                        ports: [
                            { id: "p1", device_id: "" },
                            { id: "p2", device_id: "a" },
                        ],
                    },
                };
            }
            if (!path.startsWith("/volume/v3/project/volumes/detail")) return undefined;
            const volumes = [
                { id: "v1", status: "available", metadata: ours, attachments: [] },
                { id: "v2", status: "in-use", metadata: ours, attachments: [{}] },
                { id: "v3", status: "available", metadata: {}, attachments: [] },
            ];
            return { status: 200, body: { volumes } };
        };
        assert.deepEqual(await inventory.looseParts(never), [
            { kind: "port", id: "p1" },
            { kind: "volume", id: "v1" },
        ]);
    });

    it("deletes, where what is gone already is no error", async () => {
        const inventory = openstackInventory(session, "jetstream");
        await inventory.deleteServer("a", never);
        await inventory.deletePart({ kind: "port", id: "p" }, never);
        const deleted = cloud.calls.filter(({ method }) => method === "DELETE").map(({ path }) => path);
        assert.deepEqual(deleted, ["/compute/v2.1/servers/a", "/network/v2.0/ports/p"]);
        cloud.reply = ({ method }) => (method === "DELETE" ? { status: 404 } : undefined);
        await inventory.deleteServer("a", never);
        cloud.reply = ({ method }) =>
            method === "DELETE" ? { status: 409, body: { conflictingRequest: { message: "in use" } } } : undefined;
        await assert.rejects(inventory.deletePart({ kind: "volume", id: "v" }, never), /delete volume v: 409 in use/);
    });
});
