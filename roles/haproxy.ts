/** What the balancers and the gateways' health endpoints share: HAProxy, its check timing, its file format. */
import type { Binary, Layout } from "../programs/machine";

/** Directives by section, `global`, `defaults`, `frontend NAME`, `backend NAME`, in the order of the file. */
export type Sections = Readonly<Record<string, readonly string[]>>;

/** HAProxy's configuration file. */
export function haproxyFile(sections: Sections): string {
    const parts = Object.entries(sections).map(([heading, lines]) =>
        // Preprocessor conditions are not indented.
        [heading, ...lines.map((line) => (line.startsWith(".") ? line : `    ${line}`))].join("\n"),
    );
    return `${parts.join("\n\n")}\n`;
}

/** How long connecting may take, for `defaults`. */
export const connectTimeout = "timeout connect 500ms";

/** The program HAProxy. */
export function haproxyProgram(layout: Layout): string {
    return `${layout.bin}/haproxy`;
}

/**
 * Command line that runs HAProxy in the foreground.
 *
 * @param reloads whether it can take over another configuration, which takes a second process, the master. Default false.
 */
export function haproxyArgv(layout: Layout, config: string, reloads = false): string[] {
    return [haproxyProgram(layout), ...(reloads ? ["-W"] : []), "-db", "-f", config];
}

/** The HAProxy binary; `version` is the lowest that will do. */
export function haproxyBinary(version: string): Binary {
    return { name: "haproxy", source: { kind: "tool", tool: "haproxy", version } };
}

/** The system user that HAProxy runs as. */
export const haproxyUser = "haproxy";
