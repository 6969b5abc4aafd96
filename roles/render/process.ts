import { createHash } from "node:crypto";
import type { Binary, Layout, Port, Probe, Role, RoleFile, Service } from "../role";
import { secretRefs } from "../role";

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

/** A service with every default filled in. The user is left out: on this computer everything runs as the caller. */
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
    readonly reloads?: readonly string[];
    readonly stopTimeoutSeconds: number;
}

/** The layout of a machine on this computer: everything below the machine's folder, which is where services run. */
export function processLayout(machine: string, address: string): Layout {
    return { machine, address, localAddress: address, etc: "etc", lib: "lib", run: "run", bin: "bin" };
}

/**
 * Renders a role to supervised processes. Pure: the same role gives the same machine. Its `sysctls` are left out: the kernel
 * is that of the caller's computer.
 *
 * @throws Error when services wait for each other or for one that does not exist, or a binary is missing: a mistake
 *         in the role, not of a user.
 */
export function renderProcess(role: Role, layout: Layout): ProcessMachine {
    const files = role.files.map((file) => {
        const secret = secretRefs(file.content).length > 0;
        return { path: file.path, content: file.content, mode: file.mode ?? (secret ? 0o600 : 0o644) };
    });
    for (const service of role.services) {
        const program = service.argv[0] ?? "";
        // The program itself, or one in an unpacked archive.
        const known = role.binaries.some((binary) => `${program}/`.startsWith(`${layout.bin}/${binary.name}/`));
        if (!known && !program.startsWith("/")) {
            throw new Error(`service ${service.name} of ${layout.machine} runs ${program}, which is no binary of it`);
        }
    }
    return {
        name: layout.machine,
        role: role.name,
        address: layout.address,
        files,
        services: inOrder(role.services).map(withDefaults),
        binaries: role.binaries,
        ports: role.ports,
        secrets: secretRefs(files.map((file) => file.content).join("\n")).sort(),
    };
}

function withDefaults(service: Service): ProcessService {
    return {
        name: service.name,
        description: service.description,
        argv: service.argv,
        environment: service.environment ?? {},
        type: service.type ?? "simple",
        after: service.after ?? [],
        ...(service.ready ? { ready: service.ready } : {}),
        beforeStop: service.beforeStop ?? [],
        ...(service.afterStop ? { afterStop: service.afterStop } : {}),
        ...(service.reloads ? { reloads: service.reloads } : {}),
        stopTimeoutSeconds: service.stopTimeoutSeconds ?? 10,
    };
}

/**
 * The services, each behind those it waits for.
 *
 * @throws Error when services wait for each other or for one that does not exist.
 */
export function inOrder(services: readonly Service[]): Service[] {
    const ordered: Service[] = [];
    const remaining = [...services];
    while (remaining.length > 0) {
        const next = remaining.findIndex((service) =>
            (service.after ?? []).every((name) => ordered.some((earlier) => earlier.name === name)),
        );
        if (next < 0) {
            const names = remaining.map((service) => service.name).join(", ");
            throw new Error(`these services wait for each other or for one that does not exist: ${names}`);
        }
        ordered.push(...remaining.splice(next, 1));
    }
    return ordered;
}

/** A short fingerprint of a rendered machine, for telling whether two are the same. */
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
