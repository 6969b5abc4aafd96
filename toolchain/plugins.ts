/** Pulumi's provider plugins. */

import * as fs from "node:fs";
import * as path from "node:path";
import { cacheRoot, lookUp } from "./cache";
import { reasonOf } from "./errors";
import { pulumiHome, tools } from "./manifest";
import { findOnPath, isExecutable, lastLines, run } from "./processes";

/** How to install a plugin. */
export interface PluginOptions {
    /** Receives lines about the progress. */
    readonly progress: (line: string) => void;
    readonly signal?: AbortSignal | undefined;
    /** Milliseconds after which the installation is given up. Default 60000. */
    readonly timeoutMs?: number;
}

/** Milliseconds during which a failed installation is not repeated, so that not each start waits for it. */
const FAILURE_KEPT_MS = 3_600_000;

/** The plugin version of an installed package `@pulumi/<name>`, from its package.json. */
export function pluginVersion(name: string): string {
    const file = require.resolve(`@pulumi/${name}/package.json`);
    const { version, pulumi } = JSON.parse(fs.readFileSync(file, "utf8"));
    // Some packages prefix it with "v".
    return (pulumi?.version ?? version).replace(/^v/, "");
}

/**
 * Whether a provider plugin is installed: completely and in exactly this version in `$PULUMI_HOME/plugins/` (default
 * `~/.pulumi`), or in any version on PATH.
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
 * Installs a provider plugin if necessary, by one `pulumi plugin install` with a deadline.
 *
 * For an hour after a failure it returns false at once. A file in the tool cache records the failure.
 *
 * @returns whether the plugin is installed. `progress` receives the reason of a failure.
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
    const failureFile = path.join(cacheRoot(), "plugins", `${name}-${version}.failed`);
    const age = Date.now() - (fs.statSync(failureFile, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age < FAILURE_KEPT_MS) {
        const minutes = Math.ceil((FAILURE_KEPT_MS - age) / 60_000);
        options.progress(
            `${label}: a recent installation failed; next try in ${minutes} min, or after removing ${failureFile}`,
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
            fs.rmSync(failureFile, { force: true });
            options.progress(`${label}: installed`);
            return true;
        }
        problem = lastLines(output, 1) || `exit code ${code}`;
    } catch (error) {
        options.signal?.throwIfAborted();
        problem = reasonOf(error);
    }
    fs.mkdirSync(path.dirname(failureFile), { recursive: true });
    fs.writeFileSync(failureFile, `${problem}\n`);
    options.progress(`${label}: cannot be installed: ${problem}`);
    return false;
}
