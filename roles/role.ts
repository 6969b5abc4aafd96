/**
 * What runs on one machine, as data.
 *
 * A role is a plain value built by a pure function. It knows no cloud and no Pulumi. The same value is rendered to
 * supervised processes on this computer (`render/process.ts`) or to user data for a cloud (`render/cloudInit.ts`).
 */
import { type Binary, type Port, type Probe, type RoleFile, type Service, secretRefs } from "../programs/machine";
/** What runs on one machine. */
export interface Role {
    readonly name: string;
    readonly files: readonly RoleFile[];
    readonly services: readonly Service[];
    readonly binaries: readonly Binary[];
    /** System users that the services run as. */
    readonly users: readonly string[];
    readonly ports: readonly Port[];
    /** How others judge the machine's health. */
    readonly healthChecks: readonly { readonly name: string; readonly probe: Probe }[];
    /**
     * Kernel settings, `sysctl(8)`, by their dotted names. Only for a real machine: the machines of this computer share
     * its kernel, and must not change its settings.
     */
    readonly sysctls?: Readonly<Record<string, number>>;
}

/** Names of the secrets that a machine of this role reads, sorted. */
export function secretsOf(role: Pick<Role, "files">): string[] {
    return [...new Set(role.files.flatMap(({ content }) => secretRefs(content)))].sort();
}

/** Combines several roles on one machine. If a binary, port or setting is named twice, the later part wins. */
export function mergeRoles(name: string, ...parts: readonly Role[]): Role {
    const unique = <T>(key: (item: T) => string, items: readonly T[]) => [
        ...new Map(items.map((item) => [key(item), item])).values(),
    ];
    const sysctls = Object.assign({}, ...parts.map((part) => part.sysctls)) as Record<string, number>;
    return {
        name,
        files: unique(
            (file) => file.path,
            parts.flatMap((part) => part.files),
        ),
        services: unique(
            (service) => service.name,
            parts.flatMap((part) => part.services),
        ),
        binaries: unique(
            (binary) => binary.name,
            parts.flatMap((part) => part.binaries),
        ),
        users: unique(
            (user) => user,
            parts.flatMap((part) => part.users),
        ),
        ports: unique(
            (port) => port.name,
            parts.flatMap((part) => part.ports),
        ),
        healthChecks: unique(
            (check) => check.name,
            parts.flatMap((part) => part.healthChecks),
        ),
        ...(Object.keys(sysctls).length > 0 ? { sysctls } : {}),
    };
}
