import type { SettingsFile } from "../replacement/settings";
import { type Layout, type Role, secretRef } from "./role";

/** What a machine that runs the replacement loop needs. */
export interface ReplacerArgs {
    /** The loop's settings, save the paths on the machine. */
    readonly settings: Omit<SettingsFile, "consul" | "journal" | "snapshot" | "session" | "listen"> & {
        readonly consul: Omit<SettingsFile["consul"], "caFile" | "tokenFile">;
    };
    /** The authority's certificate, PEM. It is public. */
    readonly caCertificate: string;
    /** Environment of the engine that the loop runs. */
    readonly environment: Readonly<Record<string, string>>;
    /** The loop's program, to be run by node, and a checksum that changes with it. */
    readonly program: { readonly file: string; readonly sha256: string };
    /** The secret that holds the loop's token. */
    readonly token: string;
}

/** The daemon mostly waits: these make it a fifth smaller, and its looks no slower than anybody notices. */
export const nodeFlags = ["--optimize-for-size", "--max-semi-space-size=1"] as const;

/** Where the loop serves `/metrics` and `/health`, on its machine's local address. */
export const replacerPort = 9195;

/** Where the loop's settings are on its machine. */
export function replacerSettingsPath(layout: Pick<Layout, "etc">): string {
    return `${layout.etc}/replacer.json`;
}

/** The replacement loop: it watches the gateways and has dead ones replaced. */
export function replacer(args: ReplacerArgs, layout: Layout): Role {
    const caFile = `${layout.etc}/replacer/ca.pem`;
    const tokenFile = `${layout.etc}/replacer/token`;
    const settings: SettingsFile = {
        ...args.settings,
        consul: { ...args.settings.consul, caFile, tokenFile },
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
            { path: caFile, content: args.caCertificate },
            { path: tokenFile, content: secretRef(args.token), owner: "replacer" },
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
