/** One installer per tool at a time. */

import * as fs from "node:fs";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { temporaryDirectory } from "./cache";
import { isAlive, type Owner, self } from "./processes";

/** Milliseconds between two looks at a lock that another process holds. */
const POLL_MS = 250;

/** The owner that a lock file names; undefined when it is gone or not a lock. */
function readOwner(file: string): Owner | undefined {
    try {
        const owner = JSON.parse(fs.readFileSync(file, "utf8")) as Owner;
        return typeof owner.pid === "number" ? owner : undefined;
    } catch {
        return undefined;
    }
}

/**
 * Takes a tool's lock, runs `action`, and gives it back. While another living process has it, waits; a dead owner's lock
 * is taken over.
 *
 * The file appears with its content in one step (a hard link), and a dead owner's is first renamed, so that only one
 * process can take it. Should two ever hold it (a third one taking it in the microseconds between), nothing breaks: each
 * works in its own temporary directory, and entries come into being by a rename.
 *
 * @param onWait told once about the process that is waited for.
 * @throws the signal's reason when aborted while waiting, and whatever `action` throws.
 */
export async function withLock<T>(
    root: string,
    tool: string,
    options: { signal?: AbortSignal | undefined; onWait: (owner: Owner) => void },
    action: () => Promise<T>,
): Promise<T> {
    const file = path.join(root, tool, ".lock");
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const me = self();
    const scratch = temporaryDirectory(root, `${tool}-lock`);
    const claim = path.join(scratch, "claim");
    try {
        fs.writeFileSync(claim, JSON.stringify(me));
        let told = false;
        while (!take(claim, file)) {
            options.signal?.throwIfAborted();
            const owner = readOwner(file);
            if (!owner || !isAlive(owner)) {
                takeAside(file, path.join(scratch, "old"));
                continue;
            }
            if (!told) options.onWait(owner);
            told = true;
            await delay(POLL_MS, undefined, options.signal ? { signal: options.signal } : {});
        }
    } finally {
        fs.rmSync(scratch, { recursive: true, force: true });
    }
    try {
        return await action();
    } finally {
        const owner = readOwner(file);
        if (owner?.pid === me.pid && owner.started === me.started) fs.rmSync(file, { force: true });
    }
}

/** Puts the claim in the lock's place unless there is one. */
function take(claim: string, file: string): boolean {
    try {
        fs.linkSync(claim, file);
        return true;
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
        throw error;
    }
}

/** Removes a lock whose owner is dead; puts it back if it turns out to be a living one's, taken in the meantime. */
function takeAside(file: string, aside: string): void {
    try {
        fs.renameSync(file, aside);
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
        throw error;
    }
    const owner = readOwner(aside);
    if (owner && isAlive(owner)) take(aside, file);
    fs.rmSync(aside, { force: true });
}
