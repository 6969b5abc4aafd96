import { createHash } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { readJson, realPath } from "../../lib/files";
import { identify, isAlive, type ProcessIdentity } from "../../lib/processes";
import type { ProcessMachine } from "./description";

/** The file `machine.json` in a machine's folder: the supervisor that runs it. */
export interface MachineRecord extends ProcessIdentity {
    readonly name: string;
    /** New for every boot of the machine: what a server id is on a cloud. */
    readonly incarnation: string;
    /** ISO 8601. */
    readonly createdAt: string;
}

/** The file `spec.json` in a machine's folder: what must run there. */
export interface MachineSpec {
    readonly machine: ProcessMachine;
    /** A fingerprint of each service's definition and files, secrets included. The service restarts when it changes. */
    readonly digests: Readonly<Record<string, string>>;
    /**
     * The same without the files that the service can reload. As long as it stays, the service reloads instead of restarting.
     * Absent in the specs of older versions; their supervisors go by `digests` alone.
     */
    readonly restartDigests?: Readonly<Record<string, string>>;
    /** Fingerprint of all of it, secrets included. */
    readonly version: string;
}

/** The state of a service. */
export type ServiceState = "waiting" | "starting" | "ready" | "succeeded" | "backoff" | "stopping" | "stopped";

/** The entry of a service in `run/status.json`. */
export interface MachineStatus {
    /** `version` of the spec that the services follow. */
    readonly spec: string;
    readonly services: Readonly<
        Record<
            string,
            {
                readonly state: ServiceState;
                readonly pid?: number;
                readonly restarts: number;
                /** How it ended last, such as "exit code 1" or "SIGKILL". */
                readonly lastEnd?: string;
                /** ISO 8601. */
                readonly since: string;
            }
        >
    >;
}

/** Files of a machine's folder. */
export const machineFiles = {
    record: "machine.json",
    spec: "spec.json",
    status: "run/status.json",
    log: "log",
} as const;

/** The machine's record, whether its supervisor is alive or not; undefined if there never was one. */
export function readRecord(directory: string): MachineRecord | undefined {
    return readJson<MachineRecord>(join(directory, machineFiles.record));
}

/** The record of a machine that runs; undefined when it does not. */
export function readLiveRecord(directory: string): MachineRecord | undefined {
    const record = readRecord(directory);
    return record && isAlive(record) ? record : undefined;
}

/** Names of the machines with a folder, alive or not, without those kept for study (`.previous`). */
export function machineNames(machinesDirectory: string): string[] {
    try {
        return readdirSync(machinesDirectory, { withFileTypes: true })
            .filter((entry) => entry.isDirectory() && !entry.name.includes("."))
            .map((entry) => entry.name)
            .sort();
    } catch {
        return [];
    }
}

/**
 * The fingerprint of each service: of its definition and of the files that belong to it by name, which are
 * `DIRECTORY/SERVICE/…` and `DIRECTORY/SERVICE.ANYTHING`. `contents` are the files with their secrets.
 *
 * @param leaveOut whether to leave out the files that a service can reload. Default false.
 */
export function serviceDigests(
    machine: ProcessMachine,
    contents: ReadonlyMap<string, string>,
    leaveOut = false,
): Record<string, string> {
    return Object.fromEntries(
        machine.services.map((service) => {
            const own = [...contents].filter(([path]) => {
                if (leaveOut && service.reload?.files.includes(path)) return false;
                const below = path.split("/").slice(1).join("/");
                return below.startsWith(`${service.name}/`) || below.startsWith(`${service.name}.`);
            });
            const binaries = machine.binaries.filter((binary) => service.argv.includes(`bin/${binary.name}`));
            const digest = createHash("sha256")
                .update(JSON.stringify([service, own, binaries]))
                .digest("hex");
            return [service.name, digest];
        }),
    );
}

/** A supervisor, as its process shows it. */
export interface Supervisor extends ProcessIdentity {
    /** Path of the bundle that it runs. */
    readonly program: string;
    /** The machine's folder, or where it was. */
    readonly directory: string;
    /** Whether that folder was removed. */
    readonly removed: boolean;
}

/** What Linux appends to the path of a working directory that was removed. */
const REMOVED = / \(deleted\)$/;

/** The supervisors that run on this computer, whatever has become of their files. */
export function supervisors(): Supervisor[] {
    const namespace = readlinkSync("/proc/self/ns/pid");
    return readdirSync("/proc")
        .filter((entry) => /^\d+$/.test(entry))
        .flatMap((entry) => {
            try {
                const [, program = ""] = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
                // The program's name must match: the user's shell may be in a machine's folder, too.
                if (!/(^|\/)supervisor(-[0-9a-f]+)?\.cjs$/.test(program)) return [];
                // In a container the same paths are other folders.
                if (readlinkSync(`/proc/${entry}/ns/pid`) !== namespace) return [];
                const cwd = readlinkSync(`/proc/${entry}/cwd`);
                const identity = identify(Number(entry));
                if (!identity) return [];
                return [{ ...identity, program, directory: cwd.replace(REMOVED, ""), removed: REMOVED.test(cwd) }];
            } catch {
                // It has ended, or belongs to another user.
                return [];
            }
        });
}

/** The supervisors that run in a folder, or ran in one of that path when it was removed, whether its record names them or not. */
export function supervisorsIn(directory: string): number[] {
    const path = realPath(directory);
    return supervisors().flatMap((found) => (found.directory === path ? [found.pid] : []));
}
