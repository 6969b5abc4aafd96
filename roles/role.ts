/**
 * What runs on one machine, as data.
 *
 * A role is a plain value, built by a pure function: it knows no cloud and no Pulumi. The same value
 * is rendered to supervised processes on this computer (`render/process.ts`) or, for a cloud, to user data.
 */

/** Where a role's files are on the machine it is rendered for, and how the machine is reached. */
export interface Layout {
    /** The machine's name, unique in the deployment, for instance `gw-0`. Also its Consul node name. */
    readonly machine: string;
    /** The address at which other machines reach this one. */
    readonly address: string;
    /**
     * The address on which services listen that only this machine itself may use. A cloud machine's is
     * 127.0.0.1; on a laptop, where all machines share one kernel, it is the machine's own loopback address.
     */
    readonly localAddress: string;
    /** Directory of configuration files. */
    readonly etc: string;
    /** Directory of state that survives a restart of the machine. */
    readonly lib: string;
    /** Directory of sockets and of what need not survive a restart. */
    readonly run: string;
    /** Directory of the machine's binaries. */
    readonly bin: string;
}

/** A file of a role. Its content may hold references to secrets, made by {@link secretRef}. */
export interface RoleFile {
    /** Path below one of the directories of {@link Layout}. */
    readonly path: string;
    readonly content: string;
    /** Permission bits. Default 0o644, or 0o600 when the content refers to a secret. */
    readonly mode?: number;
    /**
     * System user that the file belongs to on a real machine. Default root, which suits what everyone may read; a file
     * with a secret has to name the user of the service that reads it.
     */
    readonly owner?: string;
}

/** How to tell that something on the machine serves. */
export type Probe =
    | { readonly kind: "http"; readonly url: string; readonly status: number }
    | { readonly kind: "tcp"; readonly host: string; readonly port: number }
    | { readonly kind: "file"; readonly path: string };

/** One supervised process. */
export interface Service {
    readonly name: string;
    readonly description: string;
    /** Command line; `argv[0]` is a path below {@link Layout.bin} or an absolute path. Never holds a secret. */
    readonly argv: readonly string[];
    /** Environment, besides PATH. Never holds a secret. */
    readonly environment?: Readonly<Record<string, string>>;
    /** System user on a real machine; on a laptop every service runs as the caller. */
    readonly user: string;
    /** `simple` runs until stopped and is restarted when it ends; `oneshot` is run until it succeeded once. Default `simple`. */
    readonly type?: "simple" | "oneshot";
    /** Names of services that have to be ready (or, being oneshots, have succeeded) first. */
    readonly after?: readonly string[];
    /** When given, the service counts as ready only once this succeeds; otherwise once it runs. */
    readonly ready?: Probe;
    /** Commands run, in order, before the service is told to stop. A failure is logged and does not stop the stop. */
    readonly beforeStop?: readonly (readonly string[])[];
    /**
     * Commands run, in order, each time the process has ended, however that came: told to stop, by itself, or killed. Only
     * after them it is started again. A failure is logged, and changes nothing.
     */
    readonly afterStop?: readonly (readonly string[])[];
    /** Seconds between SIGTERM and SIGKILL. Default 10. */
    readonly stopTimeoutSeconds?: number;
    /**
     * Names of services that are told to read their configuration again (SIGHUP) each time this one is ready: for what
     * its `beforeStop` and `afterStop` undid there. On this computer only when it had ended by itself, because nobody
     * restarts single services by hand.
     */
    readonly reloads?: readonly string[];
    /**
     * Whether it asks the cloud's metadata service, and by that has the rights of the instance's role. Default false:
     * on a real machine it cannot.
     */
    readonly usesCloud?: boolean;
    /** Whether it ends the processes that it started by itself: then only it is told to stop. Default false. */
    readonly endsChildren?: boolean;
    /** Whether it sends and hears frames of the network (sockets of the family AF_PACKET). Default false. */
    readonly sendsFrames?: boolean;
    /** System calls that it needs on a real machine besides those of ordinary services. Default none. */
    readonly systemCalls?: readonly string[];
    /** Capabilities of Linux (`capabilities(7)`) that it needs on a real machine. Default none, even for root. */
    readonly capabilities?: readonly string[];
}

/** Something executable that the machine needs. */
export interface Binary {
    /** Its name below {@link Layout.bin}. */
    readonly name: string;
    readonly source:
        | { readonly kind: "tool"; readonly tool: string; readonly version: string }
        /** A program that the machine's distribution brings. Only on a real machine. */
        | { readonly kind: "package"; readonly package: string }
        /** One of this project's programs as a single file. */
        | { readonly kind: "bundle"; readonly file: string; readonly sha256: string }
        /** One of this project's programs that needs the whole project, from its sources; the sum changes with them. */
        | { readonly kind: "project"; readonly file: string; readonly sha256: string }
        /** An archive (tar.gz), unpacked to a folder of that name. */
        | { readonly kind: "archive"; readonly url: string; readonly sha256: string }
        | { readonly kind: "node" };
}

/** A port that the role listens on, and who may reach it. */
export interface Port {
    readonly name: string;
    readonly port: number;
    readonly protocol: "tcp" | "udp" | "both";
    /** `machine`: only the machine itself; `deployment`: all machines of it; `clients`: the users of the gateway. */
    readonly reach: "machine" | "deployment" | "clients";
}

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
     * Settings of the kernel, `sysctl(8)`, by their names with dots. Only on a real machine: the machines of this computer
     * share its kernel, whose settings are not theirs to change.
     */
    readonly sysctls?: Readonly<Record<string, number>>;
}

/**
 * What a machine only learns about itself when it boots. `id` is the cloud's id of the instance, such as
 * `i-0123456789abcdef0`; `address` its private IPv4 address; `interface` the name of the network interface that it has.
 */
export type InstanceFact = "id" | "address" | "interface";

const INSTANCE = /@@instance:(id|address|interface)@@/g;

/**
 * Stands for something that is not known before the machine boots, as for the instances of an AutoScaling group. May
 * be a part of a {@link Layout}'s machine name and its address, so that it gets into files, command lines and probes;
 * a role must not look into those.
 *
 * @example cloudLayout(`gw-${instanceRef("id")}`, instanceRef("address"))
 */
export function instanceRef(fact: InstanceFact): string {
    return `@@instance:${fact}@@`;
}

/** What a text has to be told about the instance, without repetition. */
export function instanceRefs(text: string): InstanceFact[] {
    return [...new Set([...text.matchAll(INSTANCE)].map((match) => match[1] as InstanceFact))];
}

/**
 * Fills in what a text has to be told about the instance.
 *
 * @throws Error naming the fact, when it is missing.
 */
export function resolveInstance(text: string, facts: Readonly<Partial<Record<InstanceFact, string>>>): string {
    return text.replace(INSTANCE, (_, fact: InstanceFact) => {
        const value = facts[fact];
        if (value === undefined) throw new Error(`the instance's ${fact} is not known`);
        return value;
    });
}

const SECRET = /@@secret:([A-Za-z0-9._-]+)@@/g;

/** A reference to the secret called `name`, to be put into a {@link RoleFile}'s content; the machine fills it in. */
export function secretRef(name: string): string {
    return `@@secret:${name}@@`;
}

/** The names of the secrets that a text refers to, without repetition, in order of appearance. */
export function secretRefs(text: string): string[] {
    return [...new Set([...text.matchAll(SECRET)].map((match) => match[1] as string))];
}

/** Names of the secrets that a machine of this role reads, sorted. */
export function secretsOf(role: Pick<Role, "files">): string[] {
    return [...new Set(role.files.flatMap(({ content }) => secretRefs(content)))].sort();
}

/**
 * Fills in the secrets that a text refers to.
 *
 * @throws Error naming the secret, when one is missing.
 */
export function resolveSecrets(text: string, secrets: Readonly<Record<string, string>>): string {
    return text.replace(SECRET, (_, name: string) => {
        const value = secrets[name];
        if (value === undefined) throw new Error(`no value for the secret "${name}"`);
        return value;
    });
}

/** Puts the parts of several roles onto one machine. Later parts win where a binary, a port or a setting is named twice. */
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
