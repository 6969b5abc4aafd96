import type { SettingsFile } from "../replacement/settings";
import { type Binary, type Layout, type Role, type RoleFile, secretRef } from "./role";

/** What a machine that runs the replacement loop needs. */
export interface ReplacerArgs {
    /** The loop's settings, save the paths on the machine, and how it logs in to a cloud. */
    readonly settings: Omit<
        SettingsFile,
        "consul" | "store" | "journal" | "snapshot" | "session" | "listen" | "openstack" | "projectDirectory"
    > & {
        /** Undefined where there is no Consul: then the loop keeps its memory on its own machine. */
        readonly consul?: ConsulOfLoop;
    };
    /** Environment of the engine that the loop runs, besides what {@link program} says. */
    readonly environment?: Readonly<Record<string, string>>;
    /** How the loop's program gets to its machine, with the program that it deploys. */
    readonly program: ReplacerSources | ReplacerBundle;
    /** How the loop is known to Consul; needed where there is one. */
    readonly access?: {
        /** The authority's certificate, PEM. It is public. */
        readonly caCertificate: string;
        /** The secret that holds the loop's token. */
        readonly token: string;
    };
}

/** From this computer's checkout, with its engine. */
export interface ReplacerSources {
    readonly kind: "project";
    /** The loop's program, to be run by node. */
    readonly file: string;
    /** Changes with it. */
    readonly sha256: string;
}

/** As files of their own, on a machine of OpenStack. */
export interface ReplacerBundle {
    readonly kind: "bundle";
    /** The loop, with the program that it deploys. */
    readonly replacer: BundleFile;
    /** The process of the resources that this project has itself. */
    readonly dynamicProvider: BundleFile;
    /** Version of the engine's CLI. */
    readonly pulumi: string;
    /** Versions of the engine's plugins that the stack needs, by name. */
    readonly plugins: Readonly<Record<string, string>>;
    /** Where the stack's state is, as this machine reaches it; its keys are the secrets `replacerStateAccess` and `replacerStateSecret`. */
    readonly backend: string;
    /** How to log in to the cloud; its secret is `replacerCredentialSecret`. */
    readonly cloud: {
        /** As the stack's configuration names it. */
        readonly name: string;
        readonly authUrl: string;
        readonly credentialId: string;
        readonly region?: string;
        readonly interface?: "public" | "internal" | "admin";
        /** Whether the cloud has block storage. Default true. */
        readonly volumes?: boolean;
    };
}

interface BundleFile {
    readonly file: string;
    readonly sha256: string;
}

/** The secrets of the loop on a machine of a cloud, besides its token: the stack's passphrase, and how it logs in. */
export const replacerSecrets = {
    passphrase: "replacerPassphrase",
    credential: "replacerCredentialSecret",
    stateAccess: "replacerStateAccess",
    stateSecret: "replacerStateSecret",
} as const;

/** The daemon mostly waits: these make it a fifth smaller, and its looks no slower than anybody notices. */
export const nodeFlags = ["--optimize-for-size", "--max-semi-space-size=1"] as const;

/** Where the loop serves `/metrics` and `/health`, on its machine's local address. */
export const replacerPort = 9195;

const USER = "replacer";

type ConsulOfLoop = Omit<NonNullable<SettingsFile["consul"]>, "caFile" | "tokenFile">;

/** Where the loop's settings are on its machine. */
export function replacerSettingsPath(layout: Pick<Layout, "etc">): string {
    return `${layout.etc}/replacer.json`;
}

/** The replacement loop: it watches the gateways and has dead ones replaced. */
export function replacer(args: ReplacerArgs, layout: Layout): Role {
    const caFile = `${layout.etc}/replacer/ca.pem`;
    const tokenFile = `${layout.etc}/replacer/token`;
    const { consul } = args.settings;
    const program =
        args.program.kind === "project" ? fromSources(args.program, layout) : fromBundle(args.program, layout);
    const settings: SettingsFile = {
        ...args.settings,
        ...program.settings,
        ...(consul ? { consul: { ...consul, caFile, tokenFile } } : { store: `${layout.lib}/store.json` }),
        journal: `${program.lib}/journal.jsonl`,
        snapshot: `${layout.run}/snapshot.json`,
        session: `${program.lib}/session.json`,
        listen: `${layout.localAddress}:${replacerPort}`,
    };
    const path = replacerSettingsPath(layout);
    return {
        name: "replacer",
        files: [
            { path, content: `${JSON.stringify(settings, undefined, 2)}\n` },
            ...(args.access
                ? [
                      { path: caFile, content: args.access.caCertificate },
                      { path: tokenFile, content: secretRef(args.access.token), owner: USER },
                  ]
                : []),
            ...program.files,
        ],
        services: [
            {
                name: "replacer",
                description: "Replacement loop",
                argv: [`${layout.bin}/node`, ...nodeFlags, `${layout.bin}/replacer.cjs`, "daemon", `--config=${path}`],
                environment: { ...program.environment, ...args.environment },
                user: USER,
                // A replacement in progress is let to end, and so the engine must not be told.
                stopTimeoutSeconds: 90,
                endsChildren: true,
            },
        ],
        binaries: [{ name: "node", source: { kind: "node" } }, ...program.binaries],
        users: [USER],
        ports: [{ name: "replacer-http", port: replacerPort, protocol: "tcp", reach: "machine" }],
        healthChecks: [],
    };
}

/** What differs by how the program gets to the machine. */
interface ProgramParts {
    readonly settings: Pick<SettingsFile, "projectDirectory"> & Partial<Pick<SettingsFile, "openstack">>;
    /** Where the loop keeps what it writes. */
    readonly lib: string;
    readonly files: readonly RoleFile[];
    readonly environment: Readonly<Record<string, string>>;
    readonly binaries: readonly Binary[];
}

function fromSources(program: ReplacerSources, layout: Layout): ProgramParts {
    return {
        settings: { projectDirectory: `${layout.bin}/project` },
        lib: layout.lib,
        files: [],
        environment: {},
        binaries: [
            { name: "replacer.cjs", source: program },
            { name: "project", source: { kind: "project", file: ".", sha256: "" } },
        ],
    };
}

function fromBundle({ backend, cloud, ...program }: ReplacerBundle, layout: Layout): ProgramParts {
    const at = (name: string) => `${layout.etc}/replacer/${name}`;
    const lib = `${layout.lib}/replacer`;
    const secret = (name: string, content: string): RoleFile => ({ path: at(name), content, owner: USER });
    const { name, authUrl, credentialId, volumes, ...where } = cloud;
    const clouds = {
        [name]: {
            auth_type: "v3applicationcredential",
            auth: {
                auth_url: authUrl,
                application_credential_id: credentialId,
                application_credential_secret: secretRef(replacerSecrets.credential),
            },
            ...(where.region ? { region_name: where.region } : {}),
            ...(where.interface ? { interface: where.interface } : {}),
        },
    };
    const keys = [
        "[default]",
        `aws_access_key_id = ${secretRef(replacerSecrets.stateAccess)}`,
        `aws_secret_access_key = ${secretRef(replacerSecrets.stateSecret)}`,
    ];
    return {
        settings: {
            projectDirectory: `${lib}/project`,
            openstack: {
                authUrl,
                credentialId,
                secretFile: at("credential"),
                ...where,
                ...(volumes === undefined ? {} : { volumes }),
            },
        },
        lib,
        files: [
            secret("passphrase", secretRef(replacerSecrets.passphrase)),
            secret("credential", secretRef(replacerSecrets.credential)),
            secret("clouds.yaml", `${JSON.stringify({ clouds }, undefined, 2)}\n`),
            secret("state-keys", `${keys.join("\n")}\n`),
        ],
        environment: {
            PULUMI_HOME: `${lib}/pulumi`,
            PULUMI_BACKEND_URL: backend,
            PULUMI_CONFIG_PASSPHRASE_FILE: at("passphrase"),
            // All that the engine needs is here: without a word it would fetch what it lacks.
            PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
            PULUMI_SKIP_UPDATE_CHECK: "true",
            AWS_SHARED_CREDENTIALS_FILE: at("state-keys"),
            OS_CLIENT_CONFIG_FILE: at("clouds.yaml"),
        },
        binaries: [
            { name: "replacer.cjs", source: { kind: "bundle", ...program.replacer } },
            { name: "pulumi-resource-pulumi-nodejs", source: { kind: "bundle", ...program.dynamicProvider } },
            { name: "pulumi", source: { kind: "tool", tool: "pulumi", version: program.pulumi } },
            ...Object.entries(program.plugins).map(
                ([plugin, version]): Binary => ({
                    name: `pulumi-resource-${plugin}`,
                    source: { kind: "tool", tool: `pulumi-resource-${plugin}`, version },
                }),
            ),
        ],
    };
}
