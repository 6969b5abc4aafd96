import * as assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    readlinkSync,
    rmSync,
    statSync,
    writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { identify, signal } from "../../lib/processes";
import { waitFor } from "../../lib/wait";
import { type Service, secretRef } from "../../programs/machine";
import type { ProcessMachine } from "../../programs/supervisor/description";
import {
    createMachine,
    killMachine,
    type MachineHome,
    machineDirectory,
    readStatus,
    removeMachine,
    stopMachine,
    updateMachine,
    waitUntilReady,
} from "../../programs/supervisor/machine";
import { machineNames, readLiveRecord } from "../../programs/supervisor/record";
import { processLayout, renderProcess } from "../../roles/render/process";
import type { Role } from "../../roles/role";

/** A separate network, so that a deployment of the developer is not in the way. */
const ADDRESS = "127.92.0.7";
/** Deadline of operations that normally take milliseconds. */
const SOON = 10_000;
const FOREVER = ["/bin/sleep", "1000"];
const SECRET = "a-value-that-nobody-shall-see";

const shell = (script: string) => ["/bin/sh", "-c", script];
const service = (name: string, more: Partial<Service> = {}): Service => ({
    name,
    description: name,
    argv: FOREVER,
    user: "nobody",
    ...more,
});

/** A machine with the given services. */
function machineOf(services: readonly Service[], more: Partial<Role> = {}, name = "m-0"): ProcessMachine {
    const role: Role = {
        name: "test",
        files: [],
        services,
        binaries: [],
        users: [],
        ports: [],
        healthChecks: [],
        ...more,
    };
    return renderProcess(role, processLayout(name, ADDRESS));
}

/**
 * The processes whose working directory is below a folder: those of its machines, whichever process is their parent.
 */
function processesBelow(folder: string): number[] {
    return readdirSync("/proc")
        .filter((entry) => /^\d+$/.test(entry))
        .map(Number)
        .filter((pid) => {
            try {
                return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`) && identify(pid) !== undefined;
            } catch {
                return false;
            }
        });
}

describe("the supervisor", function () {
    this.timeout(60_000);
    let root: string;
    let home: MachineHome;
    const earlierHome = process.env.GATEWAY_HOME;
    const directory = (name = "m-0") => machineDirectory(home, name);
    const read = (path: string, name = "m-0") => readFileSync(join(directory(name), path), "utf8");
    const lines = (path: string) => read(path).trim().split("\n");
    const stateOf = (name: string) => readStatus(home, "m-0")?.services[name];
    const pidOf = (name: string) => {
        const pid = stateOf(name)?.pid;
        assert.ok(pid, `${name} has a process`);
        return pid;
    };
    /** Creates a machine and waits until all its services are ready. */
    const boot = async (machine: ProcessMachine, secrets: Record<string, string> = {}, keepState = false) => {
        const record = await createMachine(home, machine, secrets, keepState);
        await waitUntilReady(home, machine);
        return record;
    };
    const supervisors = () =>
        processesBelow(root).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(home.supervisor));

    before(() => {
        root = mkdtempSync(join(tmpdir(), "gateway-supervisor-"));
        process.env.GATEWAY_HOME = root;
        // Required once GATEWAY_HOME is set, for clarity; the folder is looked up at each call.
        const { SourceBundles } = require("../../toolchain/bundles") as typeof import("../../toolchain/bundles");
        home = {
            machines: join(root, "machines"),
            supervisor: join(root, "bundles", new SourceBundles().bundle("supervisor").file),
            resolveBinary: () => process.execPath,
        };
    });

    afterEach(async () => {
        for (const name of machineNames(home.machines)) await stopMachine(home, name);
        const left = processesBelow(root);
        for (const pid of left) signal(pid, "SIGKILL");
        await waitFor("what is left to end", () => processesBelow(root).length === 0, SOON);
        rmSync(home.machines, { recursive: true, force: true });
        assert.deepEqual(left, [], "processes were left behind");
    });

    after(() => {
        rmSync(root, { recursive: true, force: true });
        if (earlierHome === undefined) delete process.env.GATEWAY_HOME;
        else process.env.GATEWAY_HOME = earlierHome;
    });

    describe("runs services", () => {
        it("in order: a oneshot until it succeeds, and each service once the one before is ready", async () => {
            const machine = machineOf([
                service("last", { argv: shell("echo last >> lib/order; exec sleep 1000"), after: ["slow"] }),
                service("slow", {
                    argv: shell(
                        "echo slow >> lib/order; sleep 0.3; echo ready >> lib/order; touch run/up; exec sleep 1000",
                    ),
                    after: ["once"],
                    ready: { kind: "file", path: "run/up" },
                }),
                service("once", {
                    type: "oneshot",
                    argv: shell("echo try >> lib/order; test -e lib/tried || { touch lib/tried; exit 3; }"),
                }),
            ]);
            await boot(machine);
            await waitFor("the last service's line", () => lines("lib/order").includes("last"), SOON);
            assert.deepEqual(lines("lib/order"), ["try", "try", "slow", "ready", "last"]);
            assert.equal(stateOf("once")?.state, "succeeded");
            assert.equal(stateOf("once")?.restarts, 1);
            assert.equal(stateOf("once")?.pid, undefined);
            assert.deepEqual(
                ["slow", "last"].map((name) => stateOf(name)?.state),
                ["ready", "ready"],
            );
        });

        it("and restarts one that was killed, with a pause that doubles", async () => {
            await boot(machineOf([service("victim"), service("bystander")]));
            const bystander = pidOf("bystander");
            for (const restarts of [1, 2, 3]) {
                const pid = pidOf("victim");
                signal(pid, "SIGKILL");
                await waitFor(
                    "the restart",
                    () => stateOf("victim")?.restarts === restarts && stateOf("victim")?.state === "ready",
                    SOON,
                );
                assert.notEqual(pidOf("victim"), pid);
                assert.equal(stateOf("victim")?.lastEnd, "SIGKILL");
            }
            const pauses = [...read("log/supervisor.log").matchAll(/started again in (\d+) ms/g)].map(([, ms]) => ms);
            assert.deepEqual(pauses, ["200", "400", "800"]);
            assert.equal(pidOf("bystander"), bystander);
        });

        it("and reports a missing program in its log and its state", async () => {
            const machine = machineOf([service("absent", { argv: ["/nonexistent/program"] })]);
            await createMachine(home, machine, {}, false);
            await waitFor("the second try", () => (stateOf("absent")?.restarts ?? 0) >= 1, SOON);
            assert.match(read("log/absent.log"), /\/nonexistent\/program/);
            assert.equal(stateOf("absent")?.lastEnd, "exit code 127");
        });

        it("with the machine's own environment and folder", async () => {
            process.env.GATEWAY_TEST_LEAK = "of the creator";
            try {
                await boot(machineOf([service("s", { environment: { GREETING: "hello" } })]));
            } finally {
                delete process.env.GATEWAY_TEST_LEAK;
            }
            const name = () => readFileSync(`/proc/${pidOf("s")}/comm`, "utf8").trim();
            await waitFor("the program to take setpriv's place", () => name() === "sleep", SOON);
            const pid = pidOf("s");
            const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").filter(Boolean);
            assert.deepEqual(environment.map((line) => line.split("=")[0]).sort(), [
                "GREETING",
                "HOME",
                "LANG",
                "PATH",
                "TMPDIR",
            ]);
            assert.ok(environment.includes("GREETING=hello"));
            assert.ok(environment.includes(`HOME=${join(directory(), "lib")}`));
            assert.equal(readlinkSync(`/proc/${pid}/cwd`), directory());
        });
    });

    describe("when a service ends by itself", () => {
        it("runs its commands after the stop, restarts it, and makes others reload their configuration", async () => {
            const machine = machineOf([
                service("agent", {
                    argv: shell("trap 'echo again >> lib/order' HUP; touch run/agent; while :; do sleep 0.05; done"),
                    ready: { kind: "file", path: "run/agent" },
                }),
                service("s", {
                    argv: shell("echo start >> lib/order; touch run/s; exec sleep 1000"),
                    after: ["agent"],
                    ready: { kind: "file", path: "run/s" },
                    afterStop: [shell("rm run/s; sleep 0.3; echo after >> lib/order")],
                    reloads: ["agent", "absent"],
                }),
            ]);
            await boot(machine);
            signal(pidOf("s"), "SIGKILL");
            await waitFor("the agent to be told", () => lines("lib/order").includes("again"), SOON);
            // Not at the first start, because the agent has just read its configuration.
            assert.deepEqual(lines("lib/order"), ["start", "after", "start", "again"]);
        });
    });

    describe("keeps secrets", () => {
        it("only in files that only their owner can read", async () => {
            const machine = machineOf(
                [
                    service("s", {
                        argv: shell("while :; do sleep 0.2; done"),
                        beforeStop: [shell("echo stopping")],
                    }),
                ],
                {
                    files: [
                        { path: "etc/s/token", content: `token=${secretRef("token")}\n` },
                        { path: "etc/s/plain", content: "plain\n" },
                    ],
                },
            );
            await boot(machine, { token: SECRET });
            assert.equal(read("etc/s/token"), `token=${SECRET}\n`);
            const mode = (path: string) => statSync(join(directory(), path)).mode & 0o777;
            assert.equal(mode("etc/s/token"), 0o600);
            assert.equal(mode("etc/s/plain"), 0o644);
            assert.equal(mode("spec.json"), 0o600);
            assert.deepEqual(
                readdirSync(join(directory(), "log")).map((name) => [name, mode(join("log", name))]),
                [
                    ["s.log", 0o600],
                    ["supervisor.log", 0o600],
                ],
            );
            // Nobody else can even reach a file.
            assert.equal(statSync(directory()).mode & 0o077, 0);
            const processes = processesBelow(directory());
            assert.ok(processes.length >= 2);
            for (const pid of processes) {
                for (const what of ["cmdline", "environ"]) {
                    let text = "";
                    try {
                        text = readFileSync(`/proc/${pid}/${what}`, "utf8");
                    } catch {
                        // A process of the loop, which ended meanwhile.
                    }
                    assert.ok(!text.includes(SECRET), `${what} of ${pid}`);
                }
            }
            await stopMachine(home, "m-0");
            for (const path of ["spec.json", "machine.json", "run/status.json", "log/s.log", "log/supervisor.log"]) {
                assert.ok(!read(path).includes(SECRET), path);
            }
        });

        it("and names a missing one before it touches anything", async () => {
            const machine = machineOf([service("s")], { files: [{ path: "etc/t", content: secretRef("absent") }] });
            await assert.rejects(createMachine(home, machine, {}, false), /no value for the secret "absent"/);
            assert.equal(existsSync(directory()), false);
        });
    });

    describe("ends", () => {
        const recorder = (name: string, more: Partial<Service> = {}) =>
            service(name, {
                argv: shell(
                    `trap 'echo ${name} >> lib/ends; exit 0' TERM; touch run/${name}; while :; do sleep 0.05; done`,
                ),
                ready: { kind: "file", path: `run/${name}` },
                ...more,
            });

        it("in reverse order, each after its commands before the stop", async () => {
            const machine = machineOf([
                recorder("a"),
                recorder("b", { after: ["a"], beforeStop: [shell("echo first >> lib/ends"), shell("exit 1")] }),
                recorder("c", { after: ["b"] }),
            ]);
            await boot(machine);
            await stopMachine(home, "m-0");
            assert.deepEqual(lines("lib/ends"), ["c", "first", "b", "a"]);
            assert.equal(readLiveRecord(directory()), undefined);
            assert.match(read("log/supervisor.log"), /b: .*exit 1.* before the stop: exit code 1/);
            assert.deepEqual(processesBelow(directory()), []);
        });

        it("with its commands after the stop, once the process is gone and before the next one stops", async () => {
            const machine = machineOf([
                recorder("a"),
                recorder("b", {
                    after: ["a"],
                    beforeStop: [shell("echo first >> lib/ends")],
                    afterStop: [shell("exit 1"), shell("sleep 0.2; echo last >> lib/ends")],
                }),
            ]);
            await boot(machine);
            await stopMachine(home, "m-0");
            assert.deepEqual(lines("lib/ends"), ["first", "b", "last", "a"]);
            assert.match(read("log/supervisor.log"), /b: .*exit 1.* after the stop: exit code 1/);
        });

        it("while the commands after a stop run, and does not restart their service", async () => {
            const machine = machineOf([
                service("s", {
                    argv: shell("echo start >> lib/starts; touch run/s; exec sleep 1000"),
                    ready: { kind: "file", path: "run/s" },
                    afterStop: [shell("touch run/after; sleep 0.5; echo after >> lib/starts")],
                }),
            ]);
            await boot(machine);
            signal(pidOf("s"), "SIGKILL");
            await waitFor("the command", () => existsSync(join(directory(), "run/after")), SOON);
            await stopMachine(home, "m-0");
            assert.deepEqual(lines("lib/starts"), ["start", "after"]);
            assert.equal(stateOf("s")?.state, "stopped");
        });

        it("with SIGKILL for services that do not stop in time, and the others still in order", async () => {
            const machine = machineOf([
                recorder("polite"),
                service("deaf", {
                    argv: shell("trap '' TERM; touch run/deaf; while :; do sleep 0.05; done"),
                    ready: { kind: "file", path: "run/deaf" },
                    after: ["polite"],
                    stopTimeoutSeconds: 0.3,
                }),
            ]);
            await boot(machine);
            const deaf = pidOf("deaf");
            await stopMachine(home, "m-0");
            assert.equal(identify(deaf), undefined);
            assert.match(read("log/supervisor.log"), /deaf did not stop in 0\.3 s: killed/);
            assert.deepEqual(lines("lib/ends"), ["polite"]);
        });

        it("in time while a service waits for its restart", async () => {
            await createMachine(home, machineOf([service("broken", { argv: ["/bin/false"] })]), {}, false);
            await waitFor("the pause", () => stateOf("broken")?.state === "backoff", SOON);
            await stopMachine(home, "m-0");
            const { restarts } = stateOf("broken") ?? {};
            assert.equal(stateOf("broken")?.state, "stopped");
            assert.equal(typeof restarts, "number");
            assert.deepEqual(processesBelow(directory()), []);
        });

        it("with all services if it is killed itself", async () => {
            const record = await boot(machineOf([service("a"), service("b"), service("c", { after: ["b"] })]));
            const pids = ["a", "b", "c"].map(pidOf);
            assert.ok(pids.every((pid) => identify(pid)));
            signal(record.pid, "SIGKILL");
            await waitFor("the services to end", () => pids.every((pid) => !identify(pid)), SOON);
            assert.deepEqual(processesBelow(directory()), []);
            assert.equal(readLiveRecord(directory()), undefined);
        });

        it("at once when the machine loses its power, once", async () => {
            await boot(machineOf([recorder("a"), service("b")]));
            assert.equal(await killMachine(home, "m-0"), true);
            assert.deepEqual(processesBelow(directory()), []);
            assert.equal(existsSync(join(directory(), "lib/ends")), false);
            assert.equal(await killMachine(home, "m-0"), false);
            // A dead machine counts as stopped.
            await stopMachine(home, "m-0");
        });

        it("and keeps the folder of a removed machine until the next one of that name is removed", async () => {
            await boot(machineOf([service("s", { argv: shell("echo one > lib/which; exec sleep 1000") })]));
            await waitFor("the file", () => existsSync(join(directory(), "lib/which")), SOON);
            await removeMachine(home, "m-0");
            assert.deepEqual(readdirSync(home.machines), ["m-0.previous"]);
            assert.deepEqual(machineNames(home.machines), []);
            await boot(machineOf([service("s")]));
            await removeMachine(home, "m-0");
            assert.deepEqual(readdirSync(home.machines), ["m-0.previous"]);
            assert.equal(existsSync(join(home.machines, "m-0.previous/lib/which")), false);
            // Doing nothing is not an error.
            await removeMachine(home, "m-0");
        });
    });

    describe("is created", () => {
        it("not again if it runs what was requested", async () => {
            const machine = machineOf([service("s")]);
            const first = await boot(machine, { token: SECRET });
            const pid = pidOf("s");
            const second = await boot(machine, { token: SECRET });
            assert.deepEqual(second, first);
            assert.equal(pidOf("s"), pid);
        });

        it("again if it runs something else, with its disk only if requested", async () => {
            const withFile = (content: string) =>
                machineOf([service("s")], { files: [{ path: "etc/s/x", content: `${content}${secretRef("token")}` }] });
            const first = await boot(withFile("1"), { token: "a" });
            const pid = pidOf("s");
            writeFileSync(join(directory(), "lib/state"), "kept");

            const second = await boot(withFile("2"), { token: "a" }, true);
            assert.notEqual(second.incarnation, first.incarnation);
            assert.equal(identify(pid), undefined);
            assert.equal(read("lib/state"), "kept");
            assert.equal(read("etc/s/x"), "2a");

            // Only a secret differs.
            const third = await boot(withFile("2"), { token: "b" }, false);
            assert.notEqual(third.incarnation, second.incarnation);
            assert.equal(existsSync(join(directory(), "lib/state")), false);
            assert.equal(supervisors().length, 1);
        });

        it("again if it is dead, although its folder belongs to the same machine", async () => {
            const machine = machineOf([service("s")]);
            const first = await boot(machine);
            await killMachine(home, "m-0");
            const second = await boot(machine);
            assert.notEqual(second.incarnation, first.incarnation);
            assert.ok(identify(pidOf("s")));
        });

        it("over a folder that was written only in part", async () => {
            mkdirSync(join(directory(), "etc"), { recursive: true });
            writeFileSync(join(directory(), "etc/half"), "ha");
            writeFileSync(join(directory(), "spec.json"), '{"machine":{"na');
            writeFileSync(join(directory(), "machine.json"), "");
            await boot(machineOf([service("s")]));
            assert.equal(existsSync(join(directory(), "etc/half")), false);
        });

        for (const moment of ["etc/s/x", "spec.json", "machine.json", "run/status.json"]) {
            it(`once, although its creator was killed when ${moment} appeared`, async () => {
                const machine = machineOf([service("s")], { files: [{ path: "etc/s/x", content: "x" }] });
                const creator = spawn(
                    process.execPath,
                    [
                        "--import=tsx",
                        "-e",
                        `const { createMachine } = require(${JSON.stringify(join(__dirname, "../../programs/supervisor/machine.ts"))});
                        const { home, machine } = JSON.parse(process.argv[1]);
                        createMachine({ ...home, resolveBinary: () => process.execPath }, machine, {}, false);`,
                        JSON.stringify({ home, machine }),
                    ],
                    { cwd: join(__dirname, "../.."), stdio: "ignore" },
                );
                const ended = once(creator, "exit");
                await waitFor(moment, () => existsSync(join(directory(), moment)), SOON, 1);
                creator.kill("SIGKILL");
                await ended;
                await boot(machine);
                const [supervisor, ...others] = supervisors();
                assert.deepEqual(others, []);
                assert.equal(readLiveRecord(directory())?.pid, supervisor);
            });
        }

        it("once, although a supervisor started there and ended before it wrote its record", async () => {
            const machine = machineOf([service("s")]);
            await boot(machine);
            await stopMachine(home, "m-0");
            // Started as its creator starts it, and stopped before its first line runs.
            const lost = spawn(process.execPath, [home.supervisor, "lost"], {
                cwd: directory(),
                detached: true,
                stdio: "ignore",
            });
            lost.kill("SIGSTOP");
            const ended = once(lost, "exit");
            await boot(machine);
            assert.deepEqual(supervisors(), [readLiveRecord(directory())?.pid]);
            assert.deepEqual(await ended, [null, "SIGKILL"]);
        });

        it("not while one of its ports is taken, and names the owner", async () => {
            const server = createServer();
            server.listen({ host: ADDRESS, port: 0 });
            await once(server, "listening");
            const { port } = server.address() as { port: number };
            try {
                const machine = machineOf([service("s")], {
                    ports: [{ name: "calls", port, protocol: "tcp", reach: "clients" }],
                });
                await assert.rejects(createMachine(home, machine, {}, false), (error: Error) => {
                    assert.ok(error.message.includes(`m-0 cannot start: in use: ${ADDRESS}:${port} (calls), by `));
                    assert.ok(error.message.includes(`, process ${process.pid}.`), error.message);
                    assert.match(error.message, /gateway:local\.network/);
                    return true;
                });
                assert.equal(existsSync(directory()), false);
            } finally {
                server.close();
            }
        });

        it("by one supervisor: a second one in the same folder ends", async () => {
            const record = await boot(machineOf([service("s")]));
            const second = spawn(process.execPath, [home.supervisor, "another"], { cwd: directory(), stdio: "ignore" });
            const [code] = await once(second, "exit");
            assert.notEqual(code, 0);
            assert.deepEqual(readLiveRecord(directory()), record);
        });
    });

    describe("is updated", () => {
        const two = (environment: Record<string, string>, content: string) =>
            machineOf([service("a", { environment }), service("b")], {
                files: [{ path: "etc/b/x", content: `${content}${secretRef("token")}` }],
            });

        it("by restarting only what changed, and stays the same machine", async () => {
            const first = await boot(two({}, "1"), { token: "t" });
            const [a, b] = [pidOf("a"), pidOf("b")];

            const next = two({ GREETING: "hello" }, "1");
            const second = await updateMachine(home, next, { token: "t" });
            await waitUntilReady(home, next);
            assert.deepEqual(second, first);
            assert.notEqual(pidOf("a"), a);
            assert.equal(identify(a), undefined);
            assert.equal(pidOf("b"), b);
        });

        it("by restarting the service whose file, or a secret in it, changed", async () => {
            await boot(two({}, "1"), { token: "t" });
            const a = pidOf("a");
            for (const [content, token, expected] of [
                ["2", "t", "2t"],
                ["2", "u", "2u"],
            ] as const) {
                const b = pidOf("b");
                await updateMachine(home, two({}, content), { token });
                await waitUntilReady(home, two({}, content));
                assert.notEqual(pidOf("b"), b);
                assert.equal(read("etc/b/x"), expected);
            }
            assert.equal(pidOf("a"), a);
        });

        it("by reloading the service whose file changed, where it can, and by restarting it for any other change", async () => {
            const reloadable = (content: string, environment: Record<string, string> = {}, command = "true") =>
                machineOf(
                    [
                        service("a", {
                            environment,
                            reload: {
                                files: ["etc/a/x"],
                                command: ["/bin/sh", "-c", `echo "$MAINPID $(cat etc/a/x)" >> run/reloads; ${command}`],
                            },
                        }),
                    ],
                    { files: [{ path: "etc/a/x", content }] },
                );
            await boot(reloadable("1"));
            const a = pidOf("a");
            await updateMachine(home, reloadable("2"), {});
            assert.equal(pidOf("a"), a);
            assert.deepEqual(lines("run/reloads"), [`${a} 2`]);
            await updateMachine(home, reloadable("2"), {});
            assert.equal(lines("run/reloads").length, 1, "nothing changed");
            await updateMachine(home, reloadable("3", { GREETING: "hello" }), {});
            await waitUntilReady(home, reloadable("3", { GREETING: "hello" }));
            assert.notEqual(pidOf("a"), a);
            assert.equal(lines("run/reloads").length, 1, "it has read the file when it started");
        });

        it("not, when a service refuses to reload, until it does", async () => {
            const command = "test $(cat etc/a/x) != 2";
            const next = (content: string) =>
                machineOf([service("a", { reload: { files: ["etc/a/x"], command: ["/bin/sh", "-c", command] } })], {
                    files: [{ path: "etc/a/x", content }],
                });
            await boot(next("1"));
            const [a, before] = [pidOf("a"), readStatus(home, "m-0")?.spec];
            const update = updateMachine(home, next("2"), {});
            await waitFor(
                "the refusal",
                () => /goes on with its old files: the reload ended with exit code 1/.test(read("log/supervisor.log")),
                SOON,
            );
            assert.deepEqual([pidOf("a"), readStatus(home, "m-0")?.spec], [a, before]);
            // The user corrects it, which also ends the first one's wait.
            await updateMachine(home, next("3"), {});
            assert.equal(pidOf("a"), a);
            assert.notEqual(readStatus(home, "m-0")?.spec, before);
            await assert.rejects(update, /to take over its new configuration[\s\S]*a goes on with its old files/);
        });

        it("by starting new services, and stopping removed ones", async () => {
            await boot(machineOf([service("a"), service("b")]));
            const [a, b] = [pidOf("a"), pidOf("b")];
            const next = machineOf([service("a"), service("c")]);
            await updateMachine(home, next, {});
            await waitUntilReady(home, next);
            assert.equal(pidOf("a"), a);
            assert.equal(identify(b), undefined);
            assert.deepEqual(Object.keys(readStatus(home, "m-0")?.services ?? {}), ["a", "c"]);
        });

        it("by being created again with its disk if it is dead", async () => {
            const first = await boot(machineOf([service("s")]));
            writeFileSync(join(directory(), "lib/state"), "kept");
            await killMachine(home, "m-0");
            const second = await updateMachine(home, machineOf([service("s")]), {});
            await waitUntilReady(home, machineOf([service("s")]));
            assert.notEqual(second.incarnation, first.incarnation);
            assert.equal(read("lib/state"), "kept");
        });
    });
});
