import * as assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describeLock, fileStateLocks, locksInMessage, rememberComputer } from "../../engine/stateLocks";
import { describeOwner, type LockOwner, machineId, ownerState, readOwner, thisOwner, withLock } from "../../lib/locks";

describe("a lock of a process", () => {
    let folder: string;
    let file: string;
    beforeEach(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-locks-"));
        file = join(folder, "sub", ".lock");
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    const write = (owner: object | string) => {
        mkdirSync(join(folder, "sub"), { recursive: true });
        writeFileSync(file, typeof owner === "string" ? owner : JSON.stringify(owner));
    };
    const takes = () => withLock(file, { timeout: 30, every: 5 }, () => "taken");
    const deadPid = () => spawnSync("/bin/true").pid ?? 0;

    it("names its owner while it is held, and leaves nothing", async () => {
        const before = Date.now();
        await withLock(file, {}, () => {
            const owner = readOwner(file) as LockOwner;
            assert.equal(owner.pid, process.pid);
            assert.equal(owner.host, hostname());
            assert.equal(owner.machine, machineId());
            assert.ok(Date.parse(owner.since ?? "") >= before);
            assert.equal(ownerState(owner), "alive");
        });
        assert.deepEqual(readdirSync(join(folder, "sub")), []);
    });

    for (const [what, owner] of [
        ["a process that has ended", () => ({ ...thisOwner(), pid: deadPid() })],
        ["one whose pid another process has", () => ({ ...thisOwner(), startTime: "1" })],
        [
            "one before the last boot, whose pid and start another process has",
            () => ({ ...thisOwner(), boot: "earlier" }),
        ],
        [
            "one before the last boot, of a computer that had another name",
            () => ({ ...thisOwner(), host: "old-name", boot: "earlier" }),
        ],
        ["one that an earlier version wrote", () => ({ pid: process.pid, startTime: "1" })],
        ["one that an earlier version wrote for a tool", () => ({ pid: process.pid, started: "1" })],
        ["nobody: the file was cut off", () => '{"pid": 1'],
        ["nobody: the file is empty", () => ""],
    ] as const) {
        it(`is taken over from ${what}`, async () => {
            write(owner());
            assert.equal(await takes(), "taken");
            assert.equal(existsSync(file), false);
        });
    }

    it("is not taken from a living process, whatever name the computer has now: the error says who, since when, and what ends it", async () => {
        write({ ...thisOwner(), host: "old-name", since: "2026-01-02T03:04:05.000Z" });
        await assert.rejects(takes(), {
            message: `${file} is held by process ${process.pid} of this computer since 2026-01-02T03:04:05.000Z, which runs. Wait for it to end, or end it: kill ${process.pid}`,
        });
    });

    it("is not taken from another computer, even one of the same name, that shares the folder", async () => {
        write({ pid: 7, startTime: "1", host: hostname(), machine: "another", since: "2026-01-02T03:04:05.000Z" });
        await assert.rejects(takes(), new RegExp(`held by process 7 on ${hostname()} since 2026.*rm ${file}$`));
    });

    it("may be refused instead of waited for", async () => {
        write(thisOwner());
        const onWait = (owner: LockOwner) => {
            throw new Error(describeOwner(owner, file));
        };
        await assert.rejects(
            withLock(file, { onWait }, () => undefined),
            /process \d+ of this computer/,
        );
        assert.equal((readOwner(file) as LockOwner).pid, process.pid);
    });
});

describe("the engine's lock on a state in files", () => {
    let folder: string;
    beforeEach(() => {
        folder = mkdtempSync(join(tmpdir(), "gateway-locks-"));
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    const write = (lock: object) => {
        const locks = join(folder, ".pulumi/locks/organization/gateway/local");
        mkdirSync(locks, { recursive: true });
        writeFileSync(join(locks, "l.json"), JSON.stringify(lock));
    };
    const remember = (names: object) => writeFileSync(join(folder, "gateway-computers.json"), JSON.stringify(names));
    const owner = async () => (await fileStateLocks(`file://${folder}`, "gateway", "local")?.list())?.[0]?.owner;

    it("is this computer's when it bears a name that this computer had", async () => {
        write({ pid: 2 ** 22 + 1, hostname: "old-name" });
        assert.equal(await owner(), "elsewhere");
        remember({ [machineId()]: ["old-name"] });
        assert.equal(await owner(), "dead");
    });

    it("is not told by a name that two computers have", async () => {
        write({ pid: 2 ** 22 + 1, hostname: hostname() });
        assert.equal(await owner(), "dead");
        remember({ another: [hostname()] });
        assert.equal(await owner(), "elsewhere");
    });

    it("is told by the names that are kept beside the state", () => {
        const kept = () => JSON.parse(readFileSync(join(folder, "gateway-computers.json"), "utf8")) as unknown;
        remember({ [machineId()]: ["old-name"], another: ["other"] });
        rememberComputer(`file://${folder}`);
        rememberComputer(`file://${folder}`);
        assert.deepEqual(kept(), { [machineId()]: ["old-name", hostname()], another: ["other"] });
        rememberComputer("s3://bucket");
        remember({});
        rememberComputer(`file://${folder}?no_tmp_dir=true`);
        assert.deepEqual(kept(), { [machineId()]: [hostname()] });
    });

    it("is described with its owner and the one command that ends it", () => {
        const [lock] = locksInMessage(
            "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file with `pulumi cancel`.\n" +
                "  file:///x/.pulumi/locks/organization/gateway/local/1.json: created by ann@laptop (pid 4711) at 2026-01-02T03:04:05Z",
        );
        assert.ok(lock);
        assert.equal(
            describeLock(lock, "local"),
            "process 4711 of ann on laptop, since 2026-01-02T03:04:05Z; that is not this computer. If nothing deploys there any more, remove " +
                'the lock: eval "$(npm run --silent env -- local)" && pulumi cancel --yes --stack local',
        );
        assert.match(describeLock({ ...lock, owner: "alive" }, "local"), /runs on this computer\. .*kill 4711$/);
        assert.match(describeLock({ ...lock, owner: "dead" }, "local"), /does not run any more\. .*pulumi cancel/);
    });
});
