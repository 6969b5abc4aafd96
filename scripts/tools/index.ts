/**
 * The programs that a deployment runs: Pulumi, Consul, consul-template, HAProxy, Fabio and Serf, in a cache of this
 * user, at the versions of {@link versions}. See `manifest.ts` for where each comes from and `cache.ts` for where it is put.
 *
 * Environment: `GATEWAY_TOOLS` (the cache's directory), `GATEWAY_TOOLS_MIRROR` (base URL below which the vendors' paths
 * are found), `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
 */

import * as path from "node:path";
import { lookUp } from "./cache";
import { ToolError } from "./errors";
import { installTool } from "./install";
import { type ToolName, tools } from "./manifest";

export { cacheRoot } from "./cache";
export { ToolError } from "./errors";
export { pulumiHome, type ToolName, toolsOf, versions } from "./manifest";
export { ensurePlugin, type PluginOptions, pluginAvailable, pluginPath, pluginVersion } from "./plugins";

/** How {@link ensureTools} tells what it does, and how it is stopped. */
export interface EnsureOptions {
    /** Gets a line about what is going on, at least every 10 s while something is. Nothing is told of cached tools. */
    readonly progress: (line: string) => void;
    /** Ends the installation; the signal's reason is thrown then. */
    readonly signal?: AbortSignal | undefined;
}

/**
 * The executable of a tool, by a look into the cache only: nothing is started or fetched.
 *
 * @returns undefined when it is not there, or only another version is.
 */
export function toolPath(name: ToolName): string | undefined {
    return lookUp(tools[name])?.executable;
}

/**
 * Makes sure that tools are installed and run, and fetches those that are not: what is on this computer already,
 * else the vendor's archive, else built from source or from the distribution's package.
 *
 * @returns the path of each tool's executable.
 * @throws ToolError when at least one cannot be had, after trying all of them; the signal's reason when aborted.
 */
export async function ensureTools<N extends ToolName>(
    names: readonly N[],
    options: EnsureOptions,
): Promise<Record<N, string>> {
    const paths: Partial<Record<N, string>> = {};
    const failures: string[] = [];
    const unreachable = new Map<string, string>();
    // One after the other: a build uses all cores, and a download all of the line.
    for (const name of new Set(names)) {
        try {
            paths[name] = (await installTool(tools[name], { ...options, unreachable })).executable;
        } catch (error) {
            if (!(error instanceof ToolError)) throw error;
            failures.push(error.message);
        }
    }
    if (failures.length > 0) throw new ToolError(failures.join("\n"));
    return paths as Record<N, string>;
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
