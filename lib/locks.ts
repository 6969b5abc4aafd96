/** Locks of processes as files: each names its owner, and the lock of an owner that is dead is taken over. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { readIfThere } from "./files";
import { isAlive, type ProcessIdentity, thisProcess } from "./processes";

/** Who holds a lock. Fields may be absent in files of earlier versions, which had only the process. */
export interface LockOwner extends ProcessIdentity {
    readonly host?: string;
    /** The computer, which keeps it when it gets another name. */
    readonly machine?: string;
    /** The computer's boot: a process's start time counts from it. */
    readonly boot?: string;
    /** When the lock was taken, ISO 8601. */
    readonly since?: string;
}

/** An id of this computer that does not change with its name (machine-id(5)); its name where there is none. */
export function machineId(): string {
    return readIfThere("/etc/machine-id")?.trim() || hostname();
}

function bootId(): string | undefined {
    return readIfThere("/proc/sys/kernel/random/boot_id")?.trim() || undefined;
}

/** This process, as owner of a lock from now on. */
export function thisOwner(): LockOwner {
    const boot = bootId();
    return {
        ...thisProcess(),
        host: hostname(),
        machine: machineId(),
        ...(boot === undefined ? {} : { boot }),
        since: new Date().toISOString(),
    };
}

/** Whether an owner lives. That of an owner on another computer, which shares the folder, cannot be told. */
export function ownerState(owner: LockOwner): "alive" | "dead" | "elsewhere" {
    if (owner.machine !== undefined && owner.machine !== machineId()) return "elsewhere";
    if (owner.boot !== undefined && owner.boot !== bootId()) return "dead";
    return isAlive(owner) ? "alive" : "dead";
}

/** Who holds a lock, and the command that ends it, for messages. */
export function describeOwner(owner: LockOwner, file: string): string {
    const since = owner.since === undefined ? "" : ` since ${owner.since}`;
    if (ownerState(owner) === "elsewhere") {
        return `process ${owner.pid} on ${owner.host}${since}; whether it lives can only be told there. If it does not: rm ${file}`;
    }
    return `process ${owner.pid} of this computer${since}, which runs. Wait for it to end, or end it: kill ${owner.pid}`;
}

/** The owner that a lock file names; undefined when there is no lock, or none that can be read. */
export function readOwner(file: string): LockOwner | undefined {
    try {
        const owner = JSON.parse(readFileSync(file, "utf8")) as Partial<LockOwner> & { started?: string };
        if (typeof owner.pid !== "number") return undefined;
        // The lock of a tool had another name for it in earlier versions.
        return { ...owner, pid: owner.pid, startTime: owner.startTime ?? owner.started ?? "" };
    } catch {
        return undefined;
    }
}

/** How to wait for a lock that another process holds. */
export interface LockOptions {
    readonly signal?: AbortSignal | undefined;
    /** Receives, once, the process that holds the lock. May throw instead of waiting. */
    readonly onWait?: (owner: LockOwner) => void;
    /** The longest wait, milliseconds. Default: no limit. */
    readonly timeout?: number;
    /** Milliseconds between two looks. Default 250. */
    readonly every?: number;
}

/**
 * Takes a lock, runs `action`, and releases the lock. Waits while a living process, or one on another computer, holds it. Takes over
 * the lock of a dead process, and a file that names nobody: a crash of the computer may have emptied it.
 *
 * A hard link creates the file together with its content, and the file of a dead owner is renamed first, so only one process can take
 * the lock.
 *
 * @throws Error that says who holds the lock when that takes too long; the signal's reason; and whatever `action` and `onWait` throw.
 */
export async function withLock<T>(file: string, options: LockOptions, action: () => T | Promise<T>): Promise<T> {
    const { signal, onWait, timeout = Number.POSITIVE_INFINITY, every = 250 } = options;
    const me = thisOwner();
    const claim = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
    const deadline = Date.now() + timeout;
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(claim, JSON.stringify(me), { mode: 0o600 });
    try {
        let told = false;
        while (!take(claim, file)) {
            signal?.throwIfAborted();
            const owner = readOwner(file);
            if (!owner || ownerState(owner) === "dead") {
                setAside(file, `${claim}.old`);
                continue;
            }
            if (!told) onWait?.(owner);
            told = true;
            if (Date.now() > deadline) throw new Error(`${file} is held by ${describeOwner(owner, file)}`);
            await delay(every, undefined, signal ? { signal } : {});
        }
    } finally {
        rmSync(claim, { force: true });
    }
    try {
        return await action();
    } finally {
        const owner = readOwner(file);
        if (owner?.pid === me.pid && owner.startTime === me.startTime) rmSync(file, { force: true });
    }
}

/** Puts the claim in the lock's place, unless there is a lock. */
function take(claim: string, file: string): boolean {
    try {
        linkSync(claim, file);
        return true;
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
        throw error;
    }
}

/** Removes a dead owner's lock. Puts it back if a living process has taken it meanwhile. */
function setAside(file: string, aside: string): void {
    try {
        renameSync(file, aside);
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
        throw error;
    }
    const owner = readOwner(aside);
    if (owner && ownerState(owner) !== "dead") take(aside, file);
    rmSync(aside, { force: true });
}
