/**
 * Cgroups: each machine has its own, so that the systemd of one does not meddle with another's processes, and its memory can be
 * told. A lab's are below the cgroups of whoever started it, in each hierarchy (version 2 has one, version 1 several).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { isAlive, type Owner } from "../../scripts/tools/processes";

/** What a lab's cgroup is called: it says whose it is, a process of a process namespace. */
const LAB = /^gateway-lab-(\d+)-(\d+)-(\d+)$/;

/** The lab's cgroup, by the process that started it. */
export function labCgroup({ pid, started }: Owner): string {
    return `gateway-lab-${processNamespace()}-${pid}-${started}`;
}

/** The number of the namespace in which process ids mean what they mean here. */
function processNamespace(): string {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0";
}

/** The folders of this process's cgroups, one in each hierarchy that takes processes without further ado. */
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
            // A new cgroup of it takes no process before it was told the processors.
            if (controllers === "cpuset") return [];
            const found = mounts.find(([, , type, options = ""]) =>
                controllers === "" ? type === "cgroup2" : options.split(",").includes(controllers.split(",")[0] ?? ""),
            );
            return found ? [join(found[1] as string, path)] : [];
        });
}

/** Makes the cgroup `path` (`LAB/NAME`) in every hierarchy. @returns its folders. */
export function makeCgroup(path: string): string[] {
    return ownCgroups().map((parent) => {
        const folder = join(parent, path);
        mkdirSync(folder, { recursive: true });
        return folder;
    });
}

/** Bytes that the processes of a cgroup use, caches of files included; undefined when nobody counts them. */
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
 * @returns whether it is gone; not while a process of it is still dying.
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
        // Another sweep may have been faster.
        if (code === "ENOENT") return true;
        if (code === "EBUSY") return false;
        throw error;
    }
}

/** Removes the cgroups of labs that were killed. Nothing else of a lab can outlive it. */
export function sweepCgroups(): void {
    const here = processNamespace();
    for (const parent of ownCgroups()) {
        for (const name of readdirSync(parent)) {
            const [, namespace, pid, started] = LAB.exec(name) ?? [];
            if (namespace !== here || !pid || !started || isAlive({ pid: Number(pid), started })) continue;
            removeTree(join(parent, name));
        }
    }
}
