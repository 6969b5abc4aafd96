/**
 * The programs that a deployment runs: Pulumi, Consul, consul-template, HAProxy, Fabio and Serf, at the {@link versions}
 * of the manifest, in a cache of this user. `manifest.ts` lists their sources; `cache.ts` describes the cache.
 *
 * Environment: `GATEWAY_TOOLS` (the cache's directory), `GATEWAY_TOOLS_MIRROR` (base URL below which the vendors' paths
 * are found), `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
 */

import * as path from "node:path";
import { lookUp } from "./cache";
import { deployed } from "./deployed";
import { reasonOf, ToolError } from "./errors";
import { installTool } from "./install";
import { type ToolName, tools } from "./manifest";

export { cacheRoot } from "./cache";
export { ToolError } from "./errors";
export { pulumiHome, type ToolName, toolsOf, versions } from "./manifest";
export { ensurePlugin, type PluginOptions, pluginAvailable, pluginPath, pluginVersion } from "./plugins";

/** Options of {@link ensureTools}. */
export interface EnsureOptions {
    /** Receives lines about the progress, at least every 10 s. Cached tools produce none. */
    readonly progress: (line: string) => void;
    /** Ends the installation; the signal's reason is thrown then. */
    readonly signal?: AbortSignal | undefined;
}

/**
 * The executable of a cached tool. Starts and fetches nothing.
 *
 * @returns undefined when the cache does not have it in an accepted version.
 */
export function toolPath(name: ToolName): string | undefined {
    return deployed("tools")?.[name] ?? lookUp(tools[name])?.executable;
}

/** The paths of all cached tools. */
export function toolPaths(): Record<string, string> {
    const names = Object.keys(tools) as ToolName[];
    return Object.fromEntries(
        names.flatMap((name): [string, string][] => {
            const path = toolPath(name);
            return path === undefined ? [] : [[name, path]];
        }),
    );
}

/**
 * Installs tools where necessary, and checks that they run. Sources, in order: this computer, the vendor's archive, a
 * build from source or the distribution's package. Tools install side by side.
 *
 * @returns the path of each tool's executable.
 * @throws ToolError, after trying all tools, when at least one could not be installed; the signal's reason when aborted.
 */
export async function ensureTools<N extends ToolName>(
    names: readonly N[],
    options: EnsureOptions,
): Promise<Record<N, string>> {
    const unreachable = new Map<string, string>();
    const wanted = [...new Set(names)];
    const results = await Promise.allSettled(
        wanted.map((name) => installTool(tools[name], { ...options, unreachable })),
    );
    const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    const unexpected = reasons.find((reason) => !(reason instanceof ToolError));
    if (unexpected !== undefined) throw unexpected;
    if (reasons.length > 0) throw new ToolError(reasons.map((reason) => reasonOf(reason)).join("\n"));
    return Object.fromEntries(
        results.flatMap((result, i) => (result.status === "fulfilled" ? [[wanted[i], result.value.executable]] : [])),
    ) as Record<N, string>;
}

/**
 * The installed Pulumi's directory, for the Automation API's `PulumiCommand.get({ root })`: it contains `bin/pulumi` and
 * `bin/pulumi-resource-pulumi-nodejs`, which runs dynamic providers.
 *
 * @throws ToolError when Pulumi is not installed.
 */
export function pulumiRoot(): string {
    const pulumi = toolPath("pulumi");
    if (!pulumi) throw new ToolError("Pulumi is not installed; `npm run tools` installs it.");
    return path.dirname(path.dirname(pulumi));
}
