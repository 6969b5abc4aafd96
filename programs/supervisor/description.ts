/** The machine that a supervisor runs. */

import { createHash } from "node:crypto";
import type { Binary, Port, Probe, RoleFile } from "../machine";

/** A role rendered for this computer: what one supervisor has to run. Holds no secret and no absolute path. */
export interface ProcessMachine {
    readonly name: string;
    readonly role: string;
    /** The loopback address that stands for the machine. */
    readonly address: string;
    readonly files: readonly Required<Omit<RoleFile, "owner">>[];
    /** In an order in which each one's `after` come before it. */
    readonly services: readonly ProcessService[];
    readonly binaries: readonly Binary[];
    readonly ports: readonly Port[];
    /** Names of the secrets that the files refer to. */
    readonly secrets: readonly string[];
}

/** A service with every default filled in. It has no user, because on this computer everything runs as the caller. */
export interface ProcessService {
    readonly name: string;
    readonly description: string;
    readonly argv: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly type: "simple" | "oneshot";
    readonly after: readonly string[];
    readonly ready?: Probe;
    readonly beforeStop: readonly (readonly string[])[];
    readonly afterStop?: readonly (readonly string[])[];
    readonly reload?: { readonly files: readonly string[]; readonly command: readonly string[] };
    readonly reloads?: readonly string[];
    readonly stopTimeoutSeconds: number;
}

/** A short fingerprint of a rendered machine, to tell whether two are the same. */
export function fingerprint(machine: ProcessMachine): string {
    return createHash("sha256")
        .update(JSON.stringify(sortKeys(machine)))
        .digest("hex")
        .slice(0, 16);
}

function sortKeys(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(sortKeys);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
        Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sortKeys(inner)]),
    );
}
