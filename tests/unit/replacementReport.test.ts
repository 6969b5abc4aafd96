import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program } from "../../programs/replacer/main";
import { parseSettings, type SettingsFile } from "../../programs/replacer/settings";
import { decide } from "../../replacement/core/decide";
import { localPolicy } from "../../replacement/core/policy";
import { fileJournal } from "../../replacement/journal";
import { renderDecision, renderEntry, renderStatus, type Status } from "../../replacement/report";
import { readSnapshot, writeSnapshot } from "../../replacement/snapshot";
import { action, gone, memory, NOW, observation, remembered, slot } from "./replacementFixtures";

const seen = observation({ slots: [slot(gone), slot({ slot: "gw-1" })] });
const before = memory({
    observedAt: NOW - 1,
    slots: {
        "gw-0": remembered("gw-0", { hard: { count: 1, last: NOW - 1 }, notBefore: NOW + 3 }),
        "gw-1": remembered("gw-1"),
    },
});
const decision = decide(seen, before, localPolicy);
const snapshot = { pid: 42, policy: localPolicy, observation: seen, decision };
const report = { outcome: { kind: "failed", reason: "boom" }, seconds: { preview: 1.25, replace: 2 } } as const;
const failed = { kind: "action", time: NOW - 60, action, report } as const;

const settings = (directory: string): SettingsFile => ({
    target: "local",
    // Nobody listens there: what needs Consul says so.
    consul: { addresses: ["http://127.0.0.1:1"], service: "gateway" },
    machinesDirectory: directory,
    journal: join(directory, "journal.jsonl"),
    snapshot: join(directory, "snapshot.json"),
    projectDirectory: directory,
    stack: "local",
});

describe("replacement status", () => {
    const status = (changes: Partial<Status> = {}) =>
        renderStatus({ now: NOW + 2, snapshot, actions: [failed], ...changes });

    it("tells what the loop sees and why it does not act", () => {
        assert.equal(
            status(),
            `loop      process 42, looked 2 s ago
paused    no
Consul    has a leader
control   answers
budget    60 of 60 replacements an hour left, 480 of 480 replacements a day left

SLOT  SERVER  IS       CONTROL PLANE  CONSUL    BALANCERS            LAST ACTION
gw-0  gw-0-a  gone     gone           critical  lb-0:down lb-1:down  13:45:40Z failed
gw-1  gw-1-a  healthy  active         passing   lb-0:up lb-1:up      -

decision  gw-0 is gone, not replaced: backoff for another 3 s after a failed try
`,
        );
    });

    it("tells who paused it, and when that cannot be told", () => {
        const pause = { who: "ann", why: "upgrade", when: NOW };
        assert.match(status({ pause }), /^paused {4}yes, by ann at 13:46:40Z: upgrade$/m);
        assert.match(status({ pause: "unknown" }), /^paused {4}unknown: Consul does not answer$/m);
        const configured = { ...snapshot, policy: { ...localPolicy, paused: true } };
        assert.match(status({ snapshot: configured }), /^paused {4}yes, by configuration$/m);
    });

    it("does not pretend that a loop runs which does not look", () => {
        assert.match(status({ now: NOW + 100 }), /does NOT seem to run.* 100 s ago/);
        const { snapshot: _, ...none } = { snapshot, now: NOW, actions: [] };
        assert.match(renderStatus(none), /has not observed anything yet/);
    });

    it("tells what holds it and what is in flight", () => {
        const inFlight = { slot: "gw-1", evidence: "hard", serverId: "x", startedAt: NOW - 5 } as const;
        const held = { ...decision.memory, hold: { until: NOW + 9, reason: "quota" }, inFlight };
        const text = status({ snapshot: { ...snapshot, decision: { ...decision, memory: held } } });
        assert.match(text, /^in flight gw-1, since 13:46:35Z$/m);
        assert.match(text, /^hold {6}until 13:46:49Z: quota$/m);
    });
});

describe("replacement explanation", () => {
    it("has every gate's verdict, and the inputs of those that stop", () => {
        const text = renderDecision(decision, "gw-0");
        assert.match(text, /^1970-01-12T13:46:40\.000Z {2}decision: gw-0 is gone, not replaced: backoff/);
        assert.match(text, /^ {4}pass {2}pool\.consulLeader: Consul has a leader$/m);
        assert.match(
            text,
            /^ {4}STOP {2}gw-0\.backoff: backoff for another 3 s after a failed try {2}\{"notBefore":1000003\}$/m,
        );
        assert.doesNotMatch(text, /gw-1/);
        assert.match(renderDecision(decision), /gw-1: healthy/);
    });

    it("tells actions with their outcome and times, for their slot", () => {
        assert.equal(
            renderEntry(failed),
            "1970-01-12T13:45:40.000Z  replace gw-0 (gw-0-a): failed: boom (preview 1.3 s, replace 2.0 s)\n",
        );
        assert.equal(renderEntry(failed, "gw-1"), undefined);
        assert.match(
            renderEntry({ kind: "error", time: NOW, where: "observe", message: "x" }, "gw-1") ?? "",
            /error in observe: x/,
        );
    });
});

describe("replacement settings", () => {
    it("have defaults and absolute paths", () => {
        const given = { ...settings("some/where"), policy: { softSeconds: 3 } };
        const parsed = parseSettings(JSON.stringify(given), "file");
        assert.deepEqual(parsed.policy, { ...localPolicy, softSeconds: 3 });
        assert.equal(parsed.journal, join(process.cwd(), "some/where/journal.jsonl"));
        assert.equal(parsed.consul?.keyPrefix, "gateway/replacement/");
        assert.deepEqual(parsed.balancers, []);
    });

    it("have either Consul or a file for the memory", () => {
        const { consul: _, ...rest } = settings("some/where");
        const parsed = parseSettings(JSON.stringify({ ...rest, store: "lib/store.json" }), "file");
        assert.equal(parsed.store, join(process.cwd(), "lib/store.json"));
        assert.equal(parsed.consul, undefined);
        for (const wrong of [rest, { ...settings("x"), store: "s" }]) {
            assert.throws(() => parseSettings(JSON.stringify(wrong), "file"), /one of `consul` and `store`/);
        }
    });

    it("tell every problem at once", () => {
        const { stack: _, ...wrong } = { ...settings("x"), polcy: {}, target: "moon" };
        assert.throws(
            () => parseSettings(JSON.stringify(wrong), "file"),
            (error: Error) => ["file:", "target:", "stack:", "polcy"].every((part) => error.message.includes(part)),
        );
        assert.throws(() => parseSettings("{", "file"), /file is not JSON/);
    });
});

describe("replacement command line", () => {
    let directory: string;
    let config: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "replacement-"));
        config = join(directory, "settings.json");
        writeFileSync(config, JSON.stringify(settings(directory)));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    const run = async (...argv: string[]) => {
        let text = "";
        const noProgram = () => assert.fail("these commands need no program");
        await program(noProgram, (part) => {
            text += part;
        })
            .exitOverride()
            .parseAsync([...argv, "--config", config], { from: "user" });
        return text;
    };

    it("keeps the loop's last look", () => {
        const path = join(directory, "deep", "snapshot.json");
        assert.equal(readSnapshot(path), undefined);
        writeSnapshot(path, snapshot);
        assert.deepEqual(readSnapshot(path), JSON.parse(JSON.stringify(snapshot)));
    });

    it("shows the status, also without Consul, and as JSON", async () => {
        assert.match(await run("status"), /has not observed anything yet/);
        writeSnapshot(join(directory, "snapshot.json"), snapshot);
        assert.match(await run("status"), /paused {4}unknown: Consul does not answer/);
        const { pause, snapshot: shown } = JSON.parse(await run("status", "--json"));
        assert.equal(pause, "unknown");
        assert.equal(shown.pid, 42);
    });

    it("shows alarms on top of the status, and why a loop that does not run cannot", async () => {
        const alarms = [{ name: "certificate", text: "it ends soon", since: NOW }];
        writeSnapshot(join(directory, "snapshot.json"), { ...snapshot, alarms });
        assert.match(await run("status"), /^ALARM {5}certificate: it ends soon\nloop /);
        const journal = fileJournal(join(directory, "journal.jsonl"));
        journal.append({ kind: "error", time: NOW, where: "alarm engine", message: "the passphrase is missing" });
        assert.match(await run("status"), /^ALARM {5}the loop does not run: alarm engine: the passphrase is missing$/m);
        journal.append({ kind: "start", time: NOW + 1, pid: 1, policy: localPolicy });
        assert.doesNotMatch(await run("status"), /does not run/);
        // A loop that runs says itself what is wrong.
        journal.append({ kind: "error", time: NOW + 2, where: "observe", message: "no" });
        const observation = { ...seen, time: Date.now() / 1000 };
        writeSnapshot(join(directory, "snapshot.json"), { ...snapshot, observation });
        assert.doesNotMatch(await run("status"), /ALARM/);
    });

    it("explains the last entries, all or of one slot", async () => {
        assert.equal(await run("explain"), "The journal has nothing about that.\n");
        const journal = fileJournal(join(directory, "journal.jsonl"));
        const { memory: _, ...told } = decision;
        journal.append({ kind: "decision", time: NOW, decision: told, observation: seen });
        journal.append(failed);
        journal.append({ kind: "stop", time: NOW, reason: "told to stop" });
        assert.match(await run("explain"), /decision: gw-0 is gone[\s\S]*replace gw-0[\s\S]*the loop ends/);
        assert.match(await run("explain", "--last", "1"), /^\S+ {2}the loop ends: told to stop\n$/);
        assert.doesNotMatch(await run("explain", "gw-1"), /replace gw-0 \(/);
    });

    it("says what is wrong in one line", async () => {
        await assert.rejects(run("pause", "--reason", "x"), /Consul: 127\.0\.0\.1:1/);
        await assert.rejects(run("explain", "--last", "x"), /"x" is not a whole number above 0/);
        writeFileSync(config, "{}");
        await assert.rejects(run("status"), /settings\.json:/);
    });
});
