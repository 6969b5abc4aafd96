/** What all programs that set up a machine read: files, services, binaries, ports and probes, as data. */

/** Where a role's files are on its machine, and how to reach the machine. */
export interface Layout {
    /** The machine's name, unique in the deployment, for instance `gw-0`. Also its Consul node name. */
    readonly machine: string;
    /** The address at which other machines reach this one. */
    readonly address: string;
    /**
     * The address for services that only this machine may use. On a cloud machine it is 127.0.0.1. On a laptop, where
     * all machines share one kernel, it is the machine's own loopback address.
     */
    readonly localAddress: string;
    /** Directory of configuration files. */
    readonly etc: string;
    /** Directory of state that survives a restart of the machine. */
    readonly lib: string;
    /** Directory of sockets and of other files that a restart may remove. */
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
     * System user that owns the file on a real machine. Default root, which suits a file that everyone may read. A file
     * with a secret must name the user of the service that reads it.
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
    /** Names of services that must be ready first or, for oneshots, must have succeeded. */
    readonly after?: readonly string[];
    /** If set, the service is ready once this probe succeeds; otherwise once it runs. */
    readonly ready?: Probe;
    /**
     * Commands that run, in order, before the service gets SIGTERM. A failure is logged and does not prevent the stop.
     */
    readonly beforeStop?: readonly (readonly string[])[];
    /**
     * Commands that run, in order, each time the process has ended, whether it was stopped, ended by itself or was
     * killed. It restarts only after them. A failure is logged and changes nothing.
     */
    readonly afterStop?: readonly (readonly string[])[];
    /** Seconds between SIGTERM and SIGKILL. Default 10. */
    readonly stopTimeoutSeconds?: number;
    /**
     * How the service takes over a change of these files without a restart: by a command, which gets the id of its process
     * as `MAINPID` and fails if the service goes on with the old files. Default: it restarts. On a cloud, other files make
     * another machine.
     */
    readonly reload?: { readonly files: readonly string[]; readonly command: readonly string[] };
    /**
     * Services that reload their configuration (SIGHUP) each time this one is ready, to restore what its `beforeStop`
     * and `afterStop` undid there. On this computer only if this one had ended by itself, because nobody restarts
     * single services by hand.
     */
    readonly reloads?: readonly string[];
    /**
     * Whether the service may reach the cloud's metadata service, and so has the rights of the instance's role. Default
     * false: on a real machine it is denied.
     */
    readonly usesCloud?: boolean;
    /** Whether the service ends its own child processes: then only its main process gets SIGTERM. Default false. */
    readonly endsChildren?: boolean;
    /** Whether it sends and receives network frames (sockets of the family AF_PACKET). Default false. */
    readonly sendsFrames?: boolean;
    /** System calls that it needs on a real machine in addition to those of ordinary services. Default none. */
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
        /** A program of the machine's distribution. Only on a real machine. */
        | { readonly kind: "package"; readonly package: string }
        /** One of this project's programs as a single file. */
        | { readonly kind: "bundle"; readonly file: string; readonly sha256: string }
        /** The loop's program, which uses this computer's packages; with the file `.`, the folder of the project. */
        | { readonly kind: "project"; readonly file: string; readonly sha256: string }
        /** An archive (tar.gz), unpacked to a folder of that name. */
        | { readonly kind: "archive"; readonly url: string; readonly sha256: string }
        /** The Node that this project is pinned to. */
        | { readonly kind: "node"; readonly version: string };
}

/** A port that the role listens on, and who may reach it. */
export interface Port {
    readonly name: string;
    readonly port: number;
    readonly protocol: "tcp" | "udp" | "both";
    /**
     * `machine`: only the machine itself. `deployment`: all machines of the deployment. `clients`: the clients of the
     * gateway.
     */
    readonly reach: "machine" | "deployment" | "clients";
}

/**
 * What a machine learns about itself only at boot. `id` is the cloud's id of the instance, such as
 * `i-0123456789abcdef0`; `address` its private IPv4 address; `interface` the name of its network interface.
 */
export type InstanceFact = "id" | "address" | "interface";

const INSTANCE = /@@instance:(id|address|interface)@@/g;

/**
 * A placeholder for a fact that is known only at boot, such as the id of an AutoScaling group's instance. It may be
 * part of a {@link Layout}'s machine name and address, and so of files, command lines and probes. A role must not look
 * inside it.
 *
 * @example cloudLayout(`gw-${instanceRef("id")}`, instanceRef("address"))
 */
export function instanceRef(fact: InstanceFact): string {
    return `@@instance:${fact}@@`;
}

/** The facts that a text refers to, without repetition. */
export function instanceRefs(text: string): InstanceFact[] {
    return [...new Set([...text.matchAll(INSTANCE)].map((match) => match[1] as InstanceFact))];
}

/**
 * Replaces a text's references to facts about the instance.
 *
 * @throws Error that names a missing fact.
 */
export function resolveInstance(text: string, facts: Readonly<Partial<Record<InstanceFact, string>>>): string {
    return text.replace(INSTANCE, (_, fact: InstanceFact) => {
        const value = facts[fact];
        if (value === undefined) throw new Error(`the instance's ${fact} is not known`);
        return value;
    });
}

const SECRET = /@@secret:([A-Za-z0-9._-]+)@@/g;

/** A reference to the secret `name` for a {@link RoleFile}'s content. The machine replaces it. */
export function secretRef(name: string): string {
    return `@@secret:${name}@@`;
}

/** The names of the secrets that a text refers to, without repetition, in order of appearance. */
export function secretRefs(text: string): string[] {
    return [...new Set([...text.matchAll(SECRET)].map((match) => match[1] as string))];
}

/**
 * Replaces a text's references to secrets.
 *
 * @throws Error that names a missing secret.
 */
export function resolveSecrets(text: string, secrets: Readonly<Record<string, string>>): string {
    return text.replace(SECRET, (_, name: string) => {
        const value = secrets[name];
        if (value === undefined) throw new Error(`no value for the secret "${name}"`);
        return value;
    });
}
