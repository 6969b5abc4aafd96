/**
 * This version reads what release 0.1 left behind. The samples in `fixtures/release-0.1` are from a real deployment of it. They
 * hold no secrets. `fullMemory.json` and the last lines of the journal are written by hand after the types of that release. Never
 * change them: a deployment that is upgraded has such files, keys and resources.
 */
import * as assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import type { ConsulHttp } from "../../clients/consul";
import { answerOf } from "../../components/openstack/readinessProvider";
import { engineMark, engineMarkOf, engineScope } from "../../engine/processes";
import { identify } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { deliveryKeys, readMessage } from "../../programs/boot/delivery";
import { readMemory } from "../../programs/reconciler/lastBackends";
import { succeed } from "../../programs/replacer/daemon";
import { deployedInputsOutput, deployedInputsSchema } from "../../programs/replacer/deployedInputs";
import { parseSettings } from "../../programs/replacer/settings";
import type { ProcessMachine } from "../../programs/supervisor/description";
import { readLiveRecord, readRecord, supervisorsIn } from "../../programs/supervisor/record";
import { memorySchema } from "../../replacement/core/loopMemory";
import { readJournal } from "../../replacement/journal";
import { consulCommands } from "../../replacement/operatorCommands";
import { renderEntry, renderStatus } from "../../replacement/report";
import { deploymentKey, epochKey, slotKey } from "../../replacement/serverMetadata";
import { readSnapshot } from "../../replacement/snapshot";
import { consulStore, lockKey } from "../../replacement/store";
import { identities } from "./support/identities";
import { type Registration, run, useTemporaryHome } from "./support/mocks";
import { cloudConfig, hybridStack, SECRETS_KEY } from "./support/openstackStack";

const SAMPLES = join(__dirname, "fixtures", "release-0.1");
const sample = (name: string) => readFileSync(join(SAMPLES, name), "utf8");
const parsed = <T = never>(name: string) => JSON.parse(sample(name)) as T;

describe("what release 0.1 left behind", () => {
    describe("of the replacement loop", () => {
        const keys = parsed<Record<string, string>>("consulKeys.json");
        const consul = {
            getKey: async (key: string) => (keys[key] === undefined ? undefined : { key, value: keys[key], index: 7 }),
            getKeys: async (prefix: string) =>
                Object.entries(keys)
                    .filter(([key]) => key.startsWith(prefix))
                    .map(([key, value]) => ({ key, value, index: 7 })),
        } as unknown as ConsulHttp;

        it("is its memory in Consul, with the budget that is used and the replacement in flight", async () => {
            const { memory, index } = await consulStore(consul).load();
            assert.equal(index, 7);
            assert.deepEqual(memory.taken, [1796072687.223, 1796073410.51]);
            assert.deepEqual(Object.keys(memory.slots), ["gw-0", "gw-1"]);
            assert.deepEqual(memory.slots["gw-0"]?.tries, [1796073410.51]);
            assert.deepEqual([memory.inFlight?.slot, memory.author?.epoch], ["gw-0", 1]);
        });

        it("is a memory with every field that there was", () => {
            const full = parsed<object>("fullMemory.json");
            assert.deepEqual(memorySchema.parse(full), full);
        });

        it("is its pause switch, its leader's lock, a request and an answer", async () => {
            assert.deepEqual(await consulStore(consul).pause(), { who: "root", why: "a test", when: 1796073359.179 });
            const commands = consulCommands(consul);
            assert.equal((await commands.request())?.slot, "gw-0");
            assert.equal((await commands.answer())?.text, "gw-0 was replaced");
            assert.ok(keys[lockKey()]);
            const [entry] = await commands.records();
            assert.match((entry && renderEntry(entry)) ?? "", /decision: /);
        });

        it("is its journal, which is explained entry by entry", () => {
            const entries = readJournal(join(SAMPLES, "journal.jsonl"));
            assert.equal(entries.length, sample("journal.jsonl").trim().split("\n").length);
            const told = entries.map((entry) => renderEntry(entry) ?? "").join("\n");
            assert.doesNotMatch(told, /undefined|\[object/);
            for (const words of [
                "epoch 1",
                "process 4672",
                'the control plane says "gone" (process 4201 has ended), seen 2 of 2 times',
                "pool.massLoss: the pool is not lost as a whole",
                "pool.budgetHour: 60 of 60 replacements an hour left",
                "gw-1.bootGrace: hard evidence",
                "preview 1.3 s, replace 16.1 s",
                "paused by root: a test",
                "adopt: gw-1 runs, and the state does not know it",
                "no leader",
                "the session has ended",
                "told to stop",
            ]) {
                assert.ok(told.includes(words), `${words} in\n${told}`);
            }
        });

        it("is its snapshot, of which status tells", () => {
            const snapshot = readSnapshot(join(SAMPLES, "snapshot.json"));
            assert.ok(snapshot);
            const told = renderStatus({ now: snapshot.observation.time + 1, snapshot, actions: [] });
            assert.doesNotMatch(told, /undefined|\[object|NaN/);
            assert.match(told, /gw-0 .* healthy +active +passing +lb-0:up lb-1:up/);
            assert.match(told, /58 of 60 replacements an hour left/);
        });

        it("are its settings", () => {
            const settings = parseSettings(sample("replacer.json"), "replacer.json");
            assert.deepEqual(settings.slots, { typeSuffix: "gateway:Instance", namePrefix: "gw-" });
            assert.equal(settings.consul?.keyPrefix, "gateway/replacement/");
            assert.equal(settings.policy.budgetPerHour, 60);
        });

        it("is its session, which its successor gives back, after what it ran", async () => {
            const folder = mkdtempSync(join(tmpdir(), "gateway-session-"));
            const file = join(folder, "session.json");
            copyFileSync(join(SAMPLES, "session.json"), file);
            const scope = engineScope("local", file);
            // An engine that the earlier daemon has started, by the mark that it bears.
            const env = { ...process.env, GATEWAY_ENGINE_RUN: `${scope}@11111111-2222-3333-4444-555555555555` };
            const engine = spawn("sleep", ["60"], { env, stdio: "ignore" });
            const ended = new Promise((done) => engine.once("exit", (_, signal) => done(signal)));
            const released: string[] = [];
            try {
                await waitFor("it to run", () => identify(engine.pid ?? 0) !== undefined, 5_000, 5);
                const locks = { release: async (session: string) => void released.push(session) };
                await succeed(file, scope, "the new one", locks as unknown as Parameters<typeof succeed>[3]);
                assert.equal(await ended, "SIGKILL");
            } finally {
                engine.kill("SIGKILL");
                rmSync(folder, { recursive: true });
            }
            assert.deepEqual(released, ["2cc40402-aaea-71e9-817f-fbb37e5e6424"]);
        });

        it("are its engine's processes, by their mark", () => {
            assert.equal(engineMark, "GATEWAY_ENGINE_RUN");
            const scope = engineScope("local", "/home/me/gateway/.gateway/machines/replacer/lib/session.json");
            assert.equal(scope, "local-35c6499f6e58a14f");
            assert.equal(engineMarkOf(scope, "4672.137405"), `${scope}@4672.137405`);
        });

        it("is what it was deployed with, in the stack's state", () => {
            assert.equal(deployedInputsOutput, "deployed");
            const deployed = parsed<object>("deployed.json");
            assert.deepEqual(deployedInputsSchema.parse(deployed), deployed);
        });
    });

    describe("of machines", () => {
        const folder = mkdtempSync(join(tmpdir(), "gateway-machine-"));
        let supervisor: ChildProcess | undefined;
        after(() => {
            supervisor?.kill("SIGKILL");
            rmSync(folder, { recursive: true });
        });

        it("is the record of one that runs", async () => {
            copyFileSync(join(SAMPLES, "machine.json"), join(folder, "machine.json"));
            assert.equal(readRecord(folder)?.incarnation, "06b7b486-72a0-4d93-accb-d9bfdeb76d14");
            assert.equal(readLiveRecord(folder), undefined);
            // The bundles' names, by which a supervisor without a record is known.
            const program = join(folder, "supervisor-6b3433ab2a8504e9.cjs");
            writeFileSync(program, "setInterval(() => {}, 1000);\n");
            supervisor = spawn(process.execPath, [program], { cwd: folder, stdio: "ignore" });
            await waitFor("it to be found", () => supervisorsIn(folder).length > 0, 10_000, 20);
            assert.deepEqual(supervisorsIn(folder), [supervisor.pid]);
            const record = { ...parsed<object>("machine.json"), ...identify(supervisor.pid ?? 0) };
            writeFileSync(join(folder, "machine.json"), JSON.stringify(record));
            assert.equal(readLiveRecord(folder)?.name, "replacer");
        });

        it("is the reconciler's memory, on a balancer's disk", () => {
            const memory = readMemory(join(SAMPLES, "reconciler.json"));
            assert.deepEqual(memory.slots, { gw1: "127.90.0.50:9190", gw2: "127.90.0.51:9190" });
            assert.deepEqual(
                memory.backends.map(({ id }) => id),
                ["gateway-sample-gw-0", "gateway-sample-gw-1"],
            );
        });

        it("is a server's metadata, and a machine's message that waits for its secrets", () => {
            assert.deepEqual(
                [epochKey, slotKey, deploymentKey],
                ["gateway-epoch", "gateway-slot", "gateway-deployment"],
            );
            assert.deepEqual(readMessage('{"kind":"key","key":"AAAA"}'), { kind: "key", key: "AAAA" });
            assert.deepEqual(readMessage('{"kind":"ready","answer":"BBBB"}'), { kind: "ready", answer: "BBBB" });
            const metadata = { "gateway-delivery": "1", "gateway-delivery-0": "x", other: "y" };
            assert.deepEqual(deliveryKeys(metadata), ["gateway-delivery", "gateway-delivery-0"]);
            assert.equal(
                answerOf({ serverId: "server", secrets: { gossipKey: "key" } }),
                "m_4CerhDf0GKaDPx1HN1hSw7MHOodr-Nt4y2WWQbDkE",
            );
        });
    });

    describe("in the state", function () {
        this.timeout(60_000);
        let restoreHome: () => void;
        before(() => {
            restoreHome = useTemporaryHome();
        });
        after(() => restoreHome());

        const local = () => parse(readFileSync(join(__dirname, "../../Pulumi.local.yaml"), "utf8")).config as object;
        const serf = { "gateway:loadBalancer": { stack: "serf-haproxy" } };
        const octavia = { "gateway:openstack": { frontend: { kind: "octavia", provider: "amphora" } } };
        const configurations: Readonly<Record<string, () => Record<string, unknown>>> = {
            local: () => ({ ...local() }),
            "local with Serf": () => ({ ...local(), ...serf }),
            hybrid: () => cloudConfig({}, hybridStack),
            "jetstream with Serf": () => cloudConfig(serf),
            "jetstream with Octavia": () => cloudConfig(octavia),
        };
        const runs = new Map<string, Promise<readonly Registration[]>>();
        const resourcesOf = (name: string) => {
            const made =
                runs.get(name) ??
                run(require("../../index") as () => Promise<object>, {
                    config: configurations[name]?.() ?? {},
                    secretKeys: [SECRETS_KEY],
                }).then(({ resources }) => resources);
            runs.set(name, made);
            return made;
        };
        const known = parsed<Record<string, string[]>>("resources.json");
        for (const name of Object.keys(configurations)) {
            it(`are the resources of ${name}: each is one of this version's, by its name or an alias`, async () => {
                const resources = await resourcesOf(name);
                const found = new Set(resources.flatMap((each) => identities(each, resources)));
                assert.deepEqual(
                    known[name]?.filter((each) => !found.has(each)),
                    [],
                );
            });
        }

        it("are machines whose supervisor runs on, and reads what this version gives it", async () => {
            const supervised = [...(await resourcesOf("local")), ...(await resourcesOf("local with Serf"))].flatMap(
                ({ inputs }) => (inputs.machine ? [inputs.machine as ProcessMachine] : []),
            );
            assert.ok(supervised.length > 10);
            for (const { services } of supervised) {
                for (const service of services) {
                    // It does nothing about a key that it does not know. It restarts a service instead of reloading it, because
                    // it goes by the fingerprint that has every file.
                    const unknown = Object.keys(service).filter((key) => ![...SERVICE_KEYS, "reload"].includes(key));
                    assert.deepEqual(unknown, [], service.name);
                    const { kind, ...probe } = service.ready ?? { kind: "none" };
                    assert.deepEqual(Object.keys(probe).sort(), PROBES[kind], `${service.name} ${kind}`);
                }
            }
        });
    });
});

/** What a supervisor of release 0.1 reads of each service in `spec.json`. */
const SERVICE_KEYS = [
    ...["name", "description", "argv", "environment", "type", "after", "ready"],
    ...["beforeStop", "afterStop", "reloads", "stopTimeoutSeconds"],
];
/** Its probes, with their parameters. */
const PROBES: Readonly<Record<string, readonly string[]>> = {
    none: [],
    http: ["status", "url"],
    tcp: ["host", "port"],
    file: ["path"],
};
