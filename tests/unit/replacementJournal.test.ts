import assert from "node:assert/strict";
import {
    appendFileSync,
    existsSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    rmSync,
    statSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileJournal, type JournalEntry, readJournal } from "../../replacement/journal";

describe("replacement journal", () => {
    let directory: string;
    let path: string;
    beforeEach(() => {
        directory = mkdtempSync(join(tmpdir(), "journal-"));
        path = join(directory, "deep", "journal.jsonl");
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    const entry = (time: number): JournalEntry => ({ kind: "error", time, where: "test", message: "x".repeat(50) });

    it("keeps entries in order, over several writers", () => {
        fileJournal(path).append(entry(1));
        fileJournal(path).append(entry(2));
        assert.deepEqual(readJournal(path), [entry(1), entry(2)]);
        assert.equal(readFileSync(path, "utf8").split("\n").length, 3);
        assert.equal(statSync(path).mode & 0o007, 0, "not for everybody");
    });

    it("is empty when there is none", () => assert.deepEqual(readJournal(path), []));

    it("leaves out a torn line, and does not glue the next one to it", () => {
        const journal = fileJournal(path);
        journal.append(entry(1));
        appendFileSync(path, '{"kind":"error","ti');
        assert.deepEqual(readJournal(path), [entry(1)]);
        journal.append(entry(2));
        assert.deepEqual(readJournal(path), [entry(1), entry(2)]);
    });

    it("leaves out what is no entry", () => {
        fileJournal(path).append(entry(1));
        writeFileSync(path, `null\n7\n{}\n{"kind":"error"}\n\n${JSON.stringify(entry(3))}\n`);
        assert.deepEqual(readJournal(path), [entry(3)]);
    });

    it("is bounded: it keeps one old file", () => {
        const length = JSON.stringify(entry(1)).length + 1;
        const journal = fileJournal(path, 3 * length);
        for (let time = 1; time <= 7; time++) journal.append(entry(time));
        assert.deepEqual(
            readJournal(path).map(({ time }) => time),
            [4, 5, 6, 7],
        );
        assert.deepEqual(readdirSync(join(directory, "deep")).sort(), ["journal.jsonl", "journal.jsonl.1"]);
        assert.equal(statSync(`${path}.1`).size, 3 * length);
    });

    it("writes an entry that alone is larger than the bound", () => {
        fileJournal(path, 10).append(entry(1));
        assert.deepEqual(readJournal(path), [entry(1)]);
        assert.equal(existsSync(`${path}.1`), false);
    });
});
