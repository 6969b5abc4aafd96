/**
 * Cgroups. Each machine has its own, so that its systemd does not affect the processes of another, and its memory can
 * be measured. A lab's cgroups are below those of the process that started it, in each hierarchy (version 2 has one,
 * version 1 several).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { isAlive, type ProcessIdentity } from "../../lib/processes";

/** The name of a lab's cgroup. It says which process, of which process namespace, started the lab. */
const LAB = /^gateway-lab-(\d+)-(\d+)-(\d+)$/;

/** The lab's cgroup, by the process that started it. */
export function labCgroup({ pid, startTime }: ProcessIdentity): string {
    return `gateway-lab-${processNamespace()}-${pid}-${startTime}`;
}

/** The number of the process namespace in which this process's ids are valid. */
function processNamespace(): string {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0";
}

/** The folders of this process's cgroups, one in each hierarchy that accepts processes without further set-up. */
function ownCgroups(): string[] {
    const mounts = readFileSync("/proc/self/mounts", "utf8")
        .split("\n")
        .map((line) => line.split(" "))
        .filter(([, , type]) => type === "cgroup" || type === "cgroup2");
    return readFileSync("/proc/self/cgroup", "utf8")
        .trim()
        .split("\n")
        .flatMap((line) => {
            const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
            // A new cgroup of this hierarchy accepts no process before its processors are set.
            if (controllers === "cpuset") return [];
            const found = mounts.find(([, , type, options = ""]) =>
                controllers === "" ? type === "cgroup2" : options.split(",").includes(controllers.split(",")[0] ?? ""),
            );
            return found ? [join(found[1] as string, path)] : [];
        });
}

/** Creates the cgroup `path` (`LAB/NAME`) in every hierarchy. @returns its folders. */
export function makeCgroup(path: string): string[] {
    return ownCgroups().map((parent) => {
        const folder = join(parent, path);
        mkdirSync(folder, { recursive: true });
        return folder;
    });
}

/** Bytes that the processes of a cgroup use, including caches of files; undefined if the kernel does not count them. */
export function memoryOf(path: string): number | undefined {
    const files = ownCgroups().flatMap((parent) =>
        ["memory.current", "memory.usage_in_bytes"].map((name) => join(parent, path, name)),
    );
    const file = files.find(existsSync);
    return file ? Number(readFileSync(file, "utf8")) : undefined;
}

/**
 * Removes the cgroup in every hierarchy, with those below it.
 *
 * @returns whether it is gone. It stays while one of its processes is still ending.
 */
export function removeCgroup(path: string): boolean {
    return ownCgroups()
        .map((parent) => removeTree(join(parent, path)))
        .every(Boolean);
}

function removeTree(folder: string): boolean {
    try {
        for (const entry of readdirSync(folder, { withFileTypes: true })) {
            if (entry.isDirectory() && !removeTree(join(folder, entry.name))) return false;
        }
        rmdirSync(folder);
        return true;
    } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        // Another sweep may have removed it.
        if (code === "ENOENT") return true;
        if (code === "EBUSY") return false;
        throw error;
    }
}

/** Removes the cgroups of labs that were killed. The kernel removes everything else of a lab. */
export function sweepCgroups(): void {
    const here = processNamespace();
    for (const parent of ownCgroups()) {
        for (const name of readdirSync(parent)) {
            const [, namespace, pid, startTime] = LAB.exec(name) ?? [];
            if (namespace !== here || !pid || !startTime || isAlive({ pid: Number(pid), startTime })) continue;
            removeTree(join(parent, name));
        }
    }
}
