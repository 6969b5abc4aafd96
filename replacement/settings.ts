/** The configuration file of the daemon. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { leaseTimes } from "./lease";
import { defaultPolicy, localPolicy, type ReplacementPolicy, replacementPolicySchema, resolvePolicy } from "./policy";
import { defaultPrefix } from "./store";

const url = z.url({ protocol: /^https?$/ });
const path = z.string().min(1);

/** What is in the file. Relative paths count from the working directory. */
export const settingsSchema = z
    .strictObject({
        /** Whose defaults the policy has. */
        target: z.enum(["local", "aws", "openstack"]),
        /** Where the deployment has no Consul, `store` takes its place. */
        consul: z
            .strictObject({
                /** Servers' HTTP API, such as `https://10.0.0.11:8501`. */
                addresses: z.array(url).min(1),
                caFile: path.optional(),
                /** Name in the servers' certificates, where that is not their address; for instance `server.dc1.consul`. */
                serverName: z.string().optional(),
                /** File with a token: reads services and nodes, writes keys below `keyPrefix`. */
                tokenFile: path.optional(),
                /** The gateway's name in Consul. */
                service: z.string().min(1),
                keyPrefix: z.string().endsWith("/").default(defaultPrefix),
            })
            .optional(),
        /** File of the loop's memory and its pause switch, on a disk of this machine, where there is no Consul. */
        store: path.optional(),
        /** HAProxy's status pages, such as `http://10.0.0.21:9192/;csv`, or Fabio's `http://10.0.0.21:9192/api/routes`. */
        balancers: z.array(z.strictObject({ name: z.string().min(1), url })).default([]),
        /** Folder of the machines (target `local`). */
        machinesDirectory: path.optional(),
        /** How to log in to the cloud (target `openstack`). */
        openstack: z
            .strictObject({
                authUrl: url,
                credentialId: z.string().min(1),
                /** File with the application credential's secret. */
                secretFile: path,
                region: z.string().optional(),
                interface: z.enum(["public", "internal", "admin"]).optional(),
                caFile: path.optional(),
                /** Whether the cloud has block storage, to be searched for volumes that are left. */
                volumes: z.boolean().default(true),
            })
            .optional(),
        /** `ADDRESS:PORT` of `/metrics` and `/health`; none: they are not served. */
        listen: z
            .string()
            .regex(/^[\w.:[\]-]+:\d+$/)
            .optional(),
        /** Times of the leader's lease, in seconds. Consul allows no TTL below 10. */
        lease: z
            .strictObject({
                ttl: z.number().min(10).max(86_400).default(leaseTimes.ttl),
                lockDelay: z.number().min(0).max(60).default(leaseTimes.lockDelay),
                renew: z.number().positive().default(leaseTimes.renew),
                stopAfter: z.number().positive().default(leaseTimes.stopAfter),
                retry: z.number().positive().default(leaseTimes.retry),
            })
            .refine(
                ({ ttl, stopAfter, renew }) => renew < stopAfter && stopAfter < ttl,
                "renew < stopAfter < ttl has to hold",
            )
            .prefault({}),
        /** What this daemon leaves for its successor on this machine. Default: `session.json` beside the journal. */
        session: path.optional(),
        /** The journal; its folder is made when it is missing. */
        journal: path,
        /** Size at which the journal starts a new file, keeping one old one. */
        journalMaxBytes: z
            .number()
            .int()
            .min(65_536)
            .default(4 * 1024 * 1024),
        /** What the loop saw and decided last, for `status`. */
        snapshot: path,
        /** Folder of the Pulumi project; the daemon changes to it. */
        projectDirectory: path,
        /** Name of the stack. */
        stack: z.string().min(1),
        /** Which resources are the pool's servers: how their type ends, and how the machines' names begin. */
        slots: z
            .strictObject({ typeSuffix: z.string().min(1), namePrefix: z.string() })
            .default({ typeSuffix: ":Instance", namePrefix: "gw-" }),
        /** How long a replacement may go on after SIGTERM, in seconds, before it is interrupted. */
        stopSeconds: z.number().positive().default(60),
        policy: replacementPolicySchema.default({}),
    })
    .refine(({ consul, store }) => (consul === undefined) !== (store === undefined), {
        error: "one of `consul` and `store` is needed, and not both",
    });

/** The daemon's settings as written. */
export type SettingsFile = z.input<typeof settingsSchema>;

/** The daemon's settings, with absolute paths and the whole policy. */
export type Settings = Omit<z.output<typeof settingsSchema>, "policy" | "session"> & {
    readonly policy: ReplacementPolicy;
    readonly session: string;
};

/** How Consul is reached, which is all that most commands need. */
export type ConsulSettings = Pick<Settings, "policy"> & { readonly consul: NonNullable<Settings["consul"]> };

/** Settings for a command on a machine that has none, from its options. @throws SettingsError */
export function remoteSettings(given: {
    readonly consul: readonly string[];
    readonly ca?: string;
    readonly serverName?: string;
    readonly token?: string;
    readonly prefix?: string;
}): ConsulSettings {
    const addresses = given.consul.map((address) => (address.includes("://") ? address : `http://${address}`));
    const wrong = addresses.filter((address) => !url.safeParse(address).success);
    if (wrong.length > 0) throw new SettingsError(`--consul: not a URL: ${wrong.join(", ")}`);
    const keyPrefix = given.prefix ?? defaultPrefix;
    if (!keyPrefix.endsWith("/")) throw new SettingsError("--prefix has to end with /");
    return {
        consul: {
            addresses,
            service: "",
            keyPrefix,
            ...(given.ca ? { caFile: resolve(given.ca) } : {}),
            ...(given.serverName ? { serverName: given.serverName } : {}),
            ...(given.token ? { tokenFile: resolve(given.token) } : {}),
        },
        policy: defaultPolicy,
    };
}

/** A mistake of the user's, to be told without a stack trace. */
export class SettingsError extends Error {
    override readonly name = "SettingsError";
}

/** @throws SettingsError telling every problem at once. */
export function readSettings(file: string): Settings {
    let text: string;
    try {
        text = readFileSync(file, "utf8");
    } catch (error) {
        throw new SettingsError(`${file} cannot be read: ${(error as Error).message}`);
    }
    return parseSettings(text, file);
}

/** As {@link readSettings}, from text; `file` is for messages. */
export function parseSettings(text: string, file: string): Settings {
    let value: unknown;
    try {
        value = JSON.parse(text);
    } catch (error) {
        throw new SettingsError(`${file} is not JSON: ${(error as Error).message}`);
    }
    const result = settingsSchema.safeParse(value);
    if (!result.success) {
        const problems = result.error.issues.map((issue) => `  ${issue.path.join(".") || "(top)"}: ${issue.message}`);
        throw new SettingsError([`${file}:`, ...problems].join("\n"));
    }
    const given = result.data;
    const missing =
        given.target === "local" && !given.machinesDirectory
            ? "machinesDirectory"
            : given.target === "openstack" && !given.openstack
              ? "openstack"
              : undefined;
    if (missing) throw new SettingsError(`${file}:\n  ${missing}: target ${given.target} needs it`);
    const { openstack, machinesDirectory } = given;
    return {
        ...given,
        ...(openstack
            ? {
                  openstack: {
                      ...openstack,
                      secretFile: resolve(openstack.secretFile),
                      ...(openstack.caFile ? { caFile: resolve(openstack.caFile) } : {}),
                  },
              }
            : {}),
        ...(machinesDirectory ? { machinesDirectory: resolve(machinesDirectory) } : {}),
        session: resolve(given.session ?? join(dirname(given.journal), "session.json")),
        ...(given.consul ? { consul: absolute(given.consul) } : {}),
        ...(given.store ? { store: resolve(given.store) } : {}),
        journal: resolve(given.journal),
        snapshot: resolve(given.snapshot),
        projectDirectory: resolve(given.projectDirectory),
        policy: resolvePolicy(given.target === "local" ? localPolicy : defaultPolicy, given.policy),
    };
}

function absolute<T extends { readonly caFile?: string | undefined; readonly tokenFile?: string | undefined }>(
    consul: T,
) {
    const { caFile, tokenFile, ...rest } = consul;
    return {
        ...rest,
        ...(caFile ? { caFile: resolve(caFile) } : {}),
        ...(tokenFile ? { tokenFile: resolve(tokenFile) } : {}),
    };
}
