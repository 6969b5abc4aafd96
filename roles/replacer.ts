import { type Binary, type Layout, type RoleFile, secretRef } from "../programs/machine";
import type { SettingsFile } from "../programs/replacer/settings";
import { nodeBinary } from "./node";
import type { Role } from "./role";

/** What a machine that runs the replacement loop needs. */
export interface ReplacerArgs {
    /** The loop's settings, except the paths on the machine and its login to a cloud. */
    readonly settings: Omit<
        SettingsFile,
        "consul" | "store" | "journal" | "snapshot" | "session" | "listen" | "openstack" | "projectDirectory"
    > & {
        /** Undefined without Consul: the loop then keeps its memory on its own machine. */
        readonly consul?: ConsulOfLoop;
    };
    /** Environment of the engine that the loop runs, in addition to what {@link program} says. */
    readonly environment?: Readonly<Record<string, string>>;
    /** How the loop's program, and the program that it deploys, get to the machine. */
    readonly program: ReplacerSources | ReplacerBundle;
    /** The loop's access to Consul, if there is one. */
    readonly access?: {
        /** The authority's certificate, PEM. It is public. */
        readonly caCertificate: string;
        /** The secret that holds the loop's token. */
        readonly token: string;
    };
}

/** Compiled from this computer's checkout, with the packages and the engine of this computer. */
export interface ReplacerSources {
    readonly kind: "project";
    /** The loop's program, which node runs. */
    readonly file: string;
    /** A checksum that changes with the program. */
    readonly sha256: string;
}

/** As separate files, on a machine of OpenStack. */
export interface ReplacerBundle {
    readonly kind: "bundle";
    /** The loop, with the program that it deploys. */
    readonly replacer: BundleFile;
    /** The dynamic provider, which serves the resources that this project defines. */
    readonly dynamicProvider: BundleFile;
    /** Version of the engine's CLI. */
    readonly pulumi: string;
    /** Versions of the engine's plugins that the stack needs, by name. */
    readonly plugins: Readonly<Record<string, string>>;
    /**
     * URL of the stack's state as this machine reaches it. Its keys are the secrets `replacerStateAccess` and
     * `replacerStateSecret`.
     */
    readonly backend: string;
    /** The login to the cloud. Its secret is `replacerCredentialSecret`. */
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

/** Options of Node for a daemon that mostly waits. They save a fifth of its memory and cost no noticeable time. */
export const nodeFlags = ["--optimize-for-size", "--max-semi-space-size=1"] as const;

/** Where the loop serves `/metrics` and `/health`, on its machine's local address. */
export const replacerPort = 9195;

const USER = "replacer";

type ConsulOfLoop = Omit<NonNullable<SettingsFile["consul"]>, "caFile" | "tokenFile">;

/** Where the loop's settings are on its machine. */
export function replacerSettingsPath(layout: Pick<Layout, "etc">): string {
    return `${layout.etc}/replacer.json`;
}

/** The replacement loop: it watches the gateways and replaces dead ones. */
export function replacer(args: ReplacerArgs, layout: Layout): Role {
    const caFile = `${layout.etc}/replacer/ca.pem`;
    const tokenFile = `${layout.etc}/replacer/token`;
    const gossipKeyFile = `${layout.etc}/replacer/gossip-key`;
    const { consul } = args.settings;
    const program =
        args.program.kind === "project" ? fromSources(args.program, layout) : fromBundle(args.program, layout);
    const settings: SettingsFile = {
        ...args.settings,
        ...program.settings,
        ...(consul
            ? { consul: { ...consul, caFile, tokenFile, gossipKeyFile } }
            : { store: `${layout.lib}/store.json` }),
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
                      { path: gossipKeyFile, content: secretRef("gossipKey"), owner: USER },
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
                // A replacement in progress may finish, so the engine must not get the signal.
                stopTimeoutSeconds: 90,
                endsChildren: true,
            },
        ],
        binaries: [nodeBinary, ...program.binaries],
        users: [USER],
        ports: [{ name: "replacer-http", port: replacerPort, protocol: "tcp", reach: "machine" }],
        healthChecks: [],
    };
}

/** What depends on how the program gets to the machine. */
interface ProgramParts {
    readonly settings: Pick<SettingsFile, "projectDirectory"> & Partial<Pick<SettingsFile, "openstack">>;
    /** The folder that the loop writes to. */
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
            // Everything that the engine needs is here. Without this it would download what it lacks.
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
