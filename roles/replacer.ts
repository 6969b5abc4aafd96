import type { SettingsFile } from "../replacement/settings";
import { type Layout, type Role, secretRef } from "./role";

/** What a machine that runs the replacement loop needs. */
export interface ReplacerArgs {
    /** The loop's settings, save the paths on the machine. */
    readonly settings: Omit<SettingsFile, "consul" | "store" | "journal" | "snapshot" | "session" | "listen"> & {
        /** Undefined where there is no Consul: then the loop keeps its memory on its own machine. */
        readonly consul?: ConsulOfLoop;
    };
    /** Environment of the engine that the loop runs. */
    readonly environment: Readonly<Record<string, string>>;
    /** The loop's program, to be run by node, and a checksum that changes with it. */
    readonly program: { readonly file: string; readonly sha256: string };
    /** How the loop is known to Consul; needed where there is one. */
    readonly access?: {
        /** The authority's certificate, PEM. It is public. */
        readonly caCertificate: string;
        /** The secret that holds the loop's token. */
        readonly token: string;
    };
}

/** The daemon mostly waits: these make it a fifth smaller, and its looks no slower than anybody notices. */
export const nodeFlags = ["--optimize-for-size", "--max-semi-space-size=1"] as const;

/** Where the loop serves `/metrics` and `/health`, on its machine's local address. */
export const replacerPort = 9195;

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
    const settings: SettingsFile = {
        ...args.settings,
        ...(consul ? { consul: { ...consul, caFile, tokenFile } } : { store: `${layout.lib}/store.json` }),
        journal: `${layout.lib}/journal.jsonl`,
        snapshot: `${layout.run}/snapshot.json`,
        session: `${layout.lib}/session.json`,
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
                      { path: tokenFile, content: secretRef(args.access.token), owner: "replacer" },
                  ]
                : []),
        ],
        services: [
            {
                name: "replacer",
                description: "Replacement loop",
                argv: [`${layout.bin}/node`, ...nodeFlags, `${layout.bin}/replacer.cjs`, "daemon", `--config=${path}`],
                environment: args.environment,
                user: "replacer",
                // A replacement in progress is let to end.
                stopTimeoutSeconds: 90,
            },
        ],
        binaries: [
            { name: "node", source: { kind: "node" } },
            { name: "replacer.cjs", source: { kind: "project", ...args.program } },
            { name: "project", source: { kind: "project", file: ".", sha256: "" } },
        ],
        users: ["replacer"],
        ports: [{ name: "replacer-http", port: replacerPort, protocol: "tcp", reach: "machine" }],
        healthChecks: [],
    };
}
