/** The configuration file of the daemon. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import {
    defaultPolicy,
    localPolicy,
    type ReplacementPolicy,
    replacementPolicySchema,
    resolvePolicy,
} from "../../replacement/core/policy";
import { leaseTimes } from "../../replacement/lease";
import { defaultPrefix } from "../../replacement/store";

const url = z.url({ protocol: /^https?$/ });
const path = z.string().min(1);

/** The file's content. Relative paths are relative to the working directory. */
export const settingsSchema = z
    .strictObject({
        /** Determines the policy's defaults. */
        target: z.enum(["local", "aws", "openstack"]),
        /** A deployment without Consul has `store` instead. */
        consul: z
            .strictObject({
                /** Servers' HTTP API, such as `https://10.0.0.11:8501`. */
                addresses: z.array(url).min(1),
                caFile: path.optional(),
                /** Name in the servers' certificates, where it is not their address; for instance `server.dc1.consul`. */
                serverName: z.string().optional(),
                /** File with a token that reads services and nodes and writes keys below `keyPrefix`. */
                tokenFile: path.optional(),
                /** The gateway's name in Consul. */
                service: z.string().min(1),
                keyPrefix: z.string().endsWith("/").default(defaultPrefix),
                /** File with the gossip key that the deployment gives to new machines. Default: not compared with Consul's. */
                gossipKeyFile: path.optional(),
            })
            .optional(),
        /** File for the loop's memory and pause switch on this machine's disk, for a deployment without Consul. */
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
                /** Whether the cloud has block storage, which the orphan clean-up then searches for volumes. */
                volumes: z.boolean().default(true),
            })
            .optional(),
        /** `ADDRESS:PORT` of `/metrics` and `/health`. Default: not served. */
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
                "must satisfy renew < stopAfter < ttl",
            )
            .prefault({}),
        /** The session's file, for this daemon's successor on this machine. Default: `session.json` beside the journal. */
        session: path.optional(),
        /** The journal. Its folder is created when it is missing. */
        journal: path,
        /** Size in bytes at which the journal starts a new file. One old file is kept. */
        journalMaxBytes: z
            .number()
            .int()
            .min(65_536)
            .default(4 * 1024 * 1024),
        /** File of the loop's last observation and decision, for `status`. */
        snapshot: path,
        /** Folder of the Pulumi program, the daemon's working directory. */
        projectDirectory: path,
        /** Name of the Pulumi project. */
        project: z.string().min(1).default("gateway"),
        /** Name of the stack. */
        stack: z.string().min(1),
        /** The deployment's name in the servers' metadata. Default: the stack's. */
        deployment: z.string().min(1).optional(),
        /**
         * Which resources are the pool's servers: the suffix of their type, the prefix of their machines' names, and the
         * name of their `GatewayPool`. Default of the latter: all pools of the stack.
         */
        slots: z
            .strictObject({
                typeSuffix: z.string().min(1),
                namePrefix: z.string(),
                pool: z.string().min(1).optional(),
            })
            .default({ typeSuffix: ":Instance", namePrefix: "gw-" }),
        /** Seconds that a replacement may continue after SIGTERM before the daemon interrupts it. */
        stopSeconds: z.number().positive().default(60),
        policy: replacementPolicySchema.default({}),
    })
    .refine(({ consul, store }) => (consul === undefined) !== (store === undefined), {
        error: "exactly one of `consul` and `store` is required",
    });

/** The daemon's settings as written. */
export type SettingsFile = z.input<typeof settingsSchema>;

/** The daemon's settings, with absolute paths and the whole policy. */
export type Settings = Omit<z.output<typeof settingsSchema>, "policy" | "session"> & {
    readonly policy: ReplacementPolicy;
    readonly session: string;
};

/** How to reach Consul, which is all that most commands need. */
export type ConsulSettings = Pick<Settings, "policy"> & { readonly consul: NonNullable<Settings["consul"]> };

/** Settings of a command on any other machine, from its options. @throws SettingsError */
export function remoteSettings(options: {
    readonly consul: readonly string[];
    readonly ca?: string;
    readonly serverName?: string;
    readonly token?: string;
    readonly prefix?: string;
}): ConsulSettings {
    const addresses = options.consul.map((address) => (address.includes("://") ? address : `http://${address}`));
    const wrong = addresses.filter((address) => !url.safeParse(address).success);
    if (wrong.length > 0) throw new SettingsError(`--consul: not a URL: ${wrong.join(", ")}`);
    const keyPrefix = options.prefix ?? defaultPrefix;
    if (!keyPrefix.endsWith("/")) throw new SettingsError("--prefix must end with /");
    return {
        consul: {
            addresses,
            service: "",
            keyPrefix,
            ...(options.ca ? { caFile: resolve(options.ca) } : {}),
            ...(options.serverName ? { serverName: options.serverName } : {}),
            ...(options.token ? { tokenFile: resolve(options.token) } : {}),
        },
        policy: defaultPolicy,
    };
}

/** A user's mistake, shown without a stack trace. */
export class SettingsError extends Error {
    override readonly name = "SettingsError";
}

/** Reads the daemon's settings. @throws SettingsError that lists every problem. */
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

function absolute<
    T extends {
        readonly caFile?: string | undefined;
        readonly tokenFile?: string | undefined;
        readonly gossipKeyFile?: string | undefined;
    },
>(consul: T) {
    const { caFile, tokenFile, gossipKeyFile, ...rest } = consul;
    return {
        ...rest,
        ...(gossipKeyFile ? { gossipKeyFile: resolve(gossipKeyFile) } : {}),
        ...(caFile ? { caFile: resolve(caFile) } : {}),
        ...(tokenFile ? { tokenFile: resolve(tokenFile) } : {}),
    };
}
