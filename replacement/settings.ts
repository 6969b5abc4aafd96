/** The configuration file of the daemon. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
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
        machinesDirectory: path,
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
export type Settings = Omit<z.output<typeof settingsSchema>, "policy"> & { readonly policy: ReplacementPolicy };

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
    return {
        ...given,
        ...(given.consul ? { consul: absolute(given.consul) } : {}),
        ...(given.store ? { store: resolve(given.store) } : {}),
        machinesDirectory: resolve(given.machinesDirectory),
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
