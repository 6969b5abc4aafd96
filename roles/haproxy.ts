/** What the balancers and the gateways' health endpoints have in common: HAProxy, its check timing, its file format. */
import { isIPv6 } from "node:net";
import type { Binary, Layout } from "./role";

/** Directives by section, `global`, `defaults`, `frontend NAME`, `backend NAME`, in the order of the file. */
export type Sections = Readonly<Record<string, readonly string[]>>;

/** HAProxy's configuration file. */
export function haproxyFile(sections: Sections): string {
    const parts = Object.entries(sections).map(([heading, lines]) =>
        // Conditions of the file's preprocessor stand at the margin.
        [heading, ...lines.map((line) => (line.startsWith(".") ? line : `    ${line}`))].join("\n"),
    );
    return `${parts.join("\n\n")}\n`;
}

/** Consecutive passes until a server is up, and consecutive failures until it is down. */
export const checkCounts = { rise: 2, fall: 2 } as const;

/** How long connecting may take, for `defaults`. */
export const connectTimeout = "timeout connect 500ms";

/** Command line that runs HAProxy in the foreground. */
export function haproxyArgv(layout: Layout, config: string): string[] {
    return [`${layout.bin}/haproxy`, "-db", "-f", config];
}

/** The HAProxy binary; `version` is the lowest that will do. */
export function haproxyBinary(version: string): Binary {
    return { name: "haproxy", source: { kind: "tool", tool: "haproxy", version } };
}

/** The system user that HAProxy runs as. */
export const haproxyUser = "haproxy";

/** Address and port as HAProxy, URLs and people write them. */
export function endpoint(address: string, port: number): string {
    return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}
