/** Pulumi's provider plugins. */

import * as fs from "node:fs";
import * as path from "node:path";
import { cacheRoot, lookUp } from "./cache";
import { reasonOf } from "./errors";
import { pulumiHome, tools } from "./manifest";
import { findOnPath, isExecutable, lastLines, run } from "./processes";

/** How to install a plugin. */
export interface PluginOptions {
    /** Gets a line about what is going on. */
    readonly progress: (line: string) => void;
    readonly signal?: AbortSignal | undefined;
    /** Milliseconds after which the installation is given up. Default 60000. */
    readonly timeoutMs?: number;
}

/** Milliseconds for which a failed installation is not tried again: each start would wait for it anew. */
const FAILURE_KEPT_MS = 3_600_000;

/** Version of the plugin that belongs to an installed package `@pulumi/<name>`, as its package.json says. */
export function pluginVersion(name: string): string {
    const file = require.resolve(`@pulumi/${name}/package.json`);
    const { version, pulumi } = JSON.parse(fs.readFileSync(file, "utf8"));
    // Some packages write it with the v of a tag.
    return (pulumi?.version ?? version).replace(/^v/, "");
}

/**
 * Whether a provider plugin is installed: in `$PULUMI_HOME/plugins/` (default `~/.pulumi`), of exactly this version and
 * completely, or, of whatever version, on PATH.
 */
export function pluginAvailable(name: string, version: string): boolean {
    return pluginPath(name, version) !== undefined;
}

/** The executable of a plugin that is {@link pluginAvailable}. */
export function pluginPath(name: string, version: string): string | undefined {
    const directory = path.join(pulumiHome(), "plugins", `resource-${name}-v${version}`);
    const executable = `pulumi-resource-${name}`;
    // Pulumi keeps a file next to the directory while it installs.
    const complete = !fs.existsSync(`${directory}.partial`) && isExecutable(path.join(directory, executable));
    return complete ? path.join(directory, executable) : findOnPath(executable);
}

/**
 * Tries to have a provider plugin, by one `pulumi plugin install` with a deadline.
 *
 * After a failure the next ones within the hour return false at once; a file in the tool cache remembers it.
 *
 * @returns whether the plugin is there. What went wrong is told to `progress`, in one line.
 * @throws the signal's reason when aborted.
 */
export async function ensurePlugin(name: string, version: string, options: PluginOptions): Promise<boolean> {
    if (pluginAvailable(name, version)) return true;
    const label = `Pulumi plugin ${name} ${version}`;
    const pulumi = lookUp(tools.pulumi)?.executable;
    if (!pulumi) {
        options.progress(`${label}: not installed, because the Pulumi CLI is not installed yet`);
        return false;
    }
    const stamp = path.join(cacheRoot(), "plugins", `${name}-${version}.failed`);
    const age = Date.now() - (fs.statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age < FAILURE_KEPT_MS) {
        const minutes = Math.ceil((FAILURE_KEPT_MS - age) / 60_000);
        options.progress(
            `${label}: could not be installed lately; next try in ${minutes} min, or after removing ${stamp}`,
        );
        return false;
    }
    options.progress(`${label}: installing`);
    let problem: string;
    try {
        const { code, output } = await run([pulumi, "plugin", "install", "resource", name, version], {
            signal: options.signal,
            timeoutMs: options.timeoutMs ?? 60_000,
            env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "true", PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "" },
        });
        if (code === 0 && pluginAvailable(name, version)) {
            fs.rmSync(stamp, { force: true });
            options.progress(`${label}: installed`);
            return true;
        }
        problem = lastLines(output, 1) || `exit code ${code}`;
    } catch (error) {
        options.signal?.throwIfAborted();
        problem = reasonOf(error);
    }
    fs.mkdirSync(path.dirname(stamp), { recursive: true });
    fs.writeFileSync(stamp, `${problem}\n`);
    options.progress(`${label}: cannot be installed: ${problem}`);
    return false;
}
