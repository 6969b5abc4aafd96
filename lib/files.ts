import {
    closeSync,
    fsyncSync,
    mkdirSync,
    openSync,
    readFileSync,
    realpathSync,
    renameSync,
    rmSync,
    writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/**
 * Writes a file so that a reader, or the next run after a crash, sees either the old or the new content.
 *
 * @param durable whether the file must also survive a power loss.
 */
export function writeAtomically(path: string, content: string, mode = 0o644, durable = true): void {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const temporary = `${path}.${process.pid}.tmp`;
    try {
        const file = openSync(temporary, "w", mode);
        try {
            writeSync(file, content);
            if (durable) fsyncSync(file);
        } finally {
            closeSync(file);
        }
        renameSync(temporary, path);
    } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
    }
}

/** A file's content; undefined when there is no such file. */
export function readIfThere(path: string): string | undefined {
    try {
        return readFileSync(path, "utf8");
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
    }
}

/** Reads a JSON file; undefined when it is missing or not JSON. */
export function readJson<T>(path: string): T | undefined {
    try {
        return JSON.parse(readFileSync(path, "utf8")) as T;
    } catch {
        return undefined;
    }
}

/** A path without symbolic links. Its last parts need not exist. */
export function realPath(path: string): string {
    try {
        return realpathSync(path);
    } catch {
        const parent = dirname(path);
        return parent === path ? path : join(realPath(parent), basename(path));
    }
}
