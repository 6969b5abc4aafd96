/** Locks on the deployment's state, as the engine's file backend keeps them: files without an expiry. */
import { existsSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readJson } from "../supervisor/files";
import { identify } from "../supervisor/process";
import type { StackLock } from "./recovery";

/** The locks of one stack. */
export interface StateLocks {
    list(): Promise<StackLock[]>;
    /** Removes one lock; one that is gone already is no error. */
    remove(lock: StackLock): Promise<void>;
}

/**
 * The locks in a file backend; undefined for a backend of another kind, whose locks only an operator can remove.
 *
 * @param backend such as `file:///var/lib/gateway/state`.
 */
export function fileStateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    if (!backend.startsWith("file://")) return undefined;
    const root = backend.startsWith("file:///") ? fileURLToPath(backend.replace(/\?.*$/, "")) : backend.slice(7);
    const directory = join(root, ".pulumi", "locks", "organization", project, stack);
    return {
        async list() {
            if (!existsSync(directory)) return [];
            // Beside each lock there may be a file with its attributes.
            const names = readdirSync(directory).filter((name) => name.endsWith(".json"));
            return names.flatMap((name): StackLock[] => {
                const lock = readJson<{ pid: number; hostname: string }>(join(directory, name));
                // Without a content it is being written, or removed.
                if (!lock) return [];
                const { pid, hostname: host } = lock;
                const owner = host !== hostname() ? "elsewhere" : runsEngine(pid) ? "alive" : "dead";
                return [{ id: name, host, pid, owner }];
            });
        },
        async remove({ id }) {
            const path = join(directory, basename(id));
            rmSync(path, { force: true });
            rmSync(`${path}.attrs`, { force: true });
        },
    };
}

/** Whether a process is the engine: pids are used again. One that cannot be looked into counts as the engine. */
function runsEngine(pid: number): boolean {
    if (!identify(pid)) return false;
    try {
        return /^pulumi/.test(basename(readlinkSync(`/proc/${pid}/exe`)));
    } catch (error) {
        return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
}
