/** The machine that the boot program works on: its root directory and its commands. Tests replace both. */
import { execFile } from "node:child_process";
import {
    chmodSync,
    chownSync,
    closeSync,
    fsyncSync,
    lstatSync,
    mkdirSync,
    openSync,
    readFileSync,
    renameSync,
    rmSync,
    writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

/** The machine. */
export interface System {
    /** Its root directory; `/` except in tests. */
    readonly root: string;
    /** Runs a command to its end. @returns what it printed. @throws Error with its exit code and its last words. */
    readonly run: (command: string, args: readonly string[]) => Promise<string>;
    /** Logs a step to the journal. Never a secret. */
    readonly say: (line: string) => void;
}

/** Longest time of one command, milliseconds; installing a package takes longest. */
const COMMAND_TIMEOUT = 300_000;

/** The machine that this program runs on. */
export function thisMachine(): System {
    return {
        root: "/",
        run: (command, args) =>
            new Promise((done, fail) => {
                const options = {
                    timeout: COMMAND_TIMEOUT,
                    maxBuffer: 16 * 1024 * 1024,
                    env: { ...process.env, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
                };
                execFile(command, args, options, (error, stdout, stderr) => {
                    if (!error) return done(stdout);
                    const last = stderr.trim().split("\n").at(-1) ?? "";
                    fail(new Error(`${command} ${args.join(" ")}: ${last || error.message}`));
                });
            }),
        say: (line) => console.log(line),
    };
}

/** A path on the machine as a path of this process. */
export function onDisk(system: Pick<System, "root">, path: string): string {
    return join(system.root, path);
}

/** The wanted content and rights of a file. */
export interface FileOnMachine {
    /** Absolute, on the machine. */
    readonly path: string;
    readonly content: string;
    readonly mode: number;
    /** Numbers of user and group. */
    readonly uid: number;
    readonly gid: number;
}

/**
 * Creates or corrects a file atomically: nobody sees half of it, or a secret with another file's rights. Missing
 * folders above it are created so that everyone can enter them.
 *
 * @returns whether anything changed.
 */
export function putFile(system: System, file: FileOnMachine): boolean {
    const path = onDisk(system, file.path);
    if (isAsGiven(path, file)) return false;
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const part = `${path}.part`;
    rmSync(part, { force: true });
    // `wx`: never write into something that somebody else put there.
    const handle = openSync(part, "wx", 0o600);
    try {
        writeSync(handle, file.content);
        fsyncSync(handle);
    } finally {
        closeSync(handle);
    }
    chownSync(part, file.uid, file.gid);
    // Only now, because a change of the owner clears some rights.
    chmodSync(part, file.mode);
    renameSync(part, path);
    syncFolder(dirname(path));
    return true;
}

function isAsGiven(path: string, file: FileOnMachine): boolean {
    try {
        const found = lstatSync(path);
        return (
            found.isFile() &&
            (found.mode & 0o7777) === file.mode &&
            found.uid === file.uid &&
            found.gid === file.gid &&
            readFileSync(path, "utf8") === file.content
        );
    } catch {
        return false;
    }
}

/** Makes a rename in a folder survive a power loss. */
export function syncFolder(path: string): void {
    const handle = openSync(path, "r");
    try {
        fsyncSync(handle);
    } finally {
        closeSync(handle);
    }
}
