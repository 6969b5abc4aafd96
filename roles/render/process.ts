import type { Layout, Service } from "../../programs/machine";
import { secretRefs } from "../../programs/machine";
import type { ProcessMachine, ProcessService } from "../../programs/supervisor/description";
import type { Role } from "../role";

/** The layout of a machine on this computer: everything is below the machine's folder, where its services run. */
export function processLayout(machine: string, address: string): Layout {
    return { machine, address, localAddress: address, etc: "etc", lib: "lib", run: "run", bin: "bin" };
}

/**
 * Renders a role to supervised processes. Pure: the same role gives the same machine. `sysctls` are left out, because
 * the kernel is that of the caller's computer.
 *
 * @throws Error if services wait for each other or for one that does not exist, or if a binary is missing: a mistake in
 *         the role, not the user's.
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
        ...(service.reload ? { reload: service.reload } : {}),
        ...(service.reloads ? { reloads: service.reloads } : {}),
        stopTimeoutSeconds: service.stopTimeoutSeconds ?? 10,
    };
}

/**
 * The services in an order in which each comes after those it waits for.
 *
 * @throws Error if services wait for each other or for one that does not exist.
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
