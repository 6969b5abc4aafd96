import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { ProcessMachine } from "../roles/render/process";
import { readJson } from "./files";
import { isAlive, type ProcessIdentity } from "./process";

/** What `machine.json` in a machine's folder says of the supervisor that runs it. */
export interface MachineRecord extends ProcessIdentity {
    readonly name: string;
    /** New for every boot of the machine: what a server id is on a cloud. */
    readonly incarnation: string;
    /** ISO 8601. */
    readonly createdAt: string;
}

/** What `spec.json` in a machine's folder says of what has to run there. */
export interface MachineSpec {
    readonly machine: ProcessMachine;
    /** For each service, a fingerprint of its definition and files, secrets included: it is restarted when this changes. */
    readonly digests: Readonly<Record<string, string>>;
    /** Fingerprint of all of it, secrets included. */
    readonly version: string;
}

/** How a service is. */
export type ServiceState = "waiting" | "starting" | "ready" | "succeeded" | "backoff" | "stopping" | "stopped";

/** What `run/status.json` says of each service. */
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

/** The machine's record, whether its supervisor lives or not; undefined when there never was one. */
export function readRecord(directory: string): MachineRecord | undefined {
    return readJson<MachineRecord>(join(directory, machineFiles.record));
}

/** The record of a machine that runs; undefined when it does not. */
export function readLiveRecord(directory: string): MachineRecord | undefined {
    const record = readRecord(directory);
    return record && isAlive(record) ? record : undefined;
}

/** Names of the machines that have a folder, alive or not; those kept for study (`.previous`) are left out. */
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
 * The fingerprint of each service: of its definition, and of the files that are its own by name, which are
 * `DIRECTORY/SERVICE/…` and `DIRECTORY/SERVICE.ANYTHING`. `contents` are the files with the secrets filled in.
 */
export function serviceDigests(machine: ProcessMachine, contents: ReadonlyMap<string, string>): Record<string, string> {
    return Object.fromEntries(
        machine.services.map((service) => {
            const own = [...contents].filter(([path]) => {
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
