/** What the end-to-end tests of target openstack need on this computer. */
import { join } from "node:path";
import { gatewayHome } from "../../../../components/local/home";
import {
    ensurePlugin,
    ensureTools,
    pluginAvailable,
    pluginVersion,
    type ToolName,
    toolPath,
} from "../../../../scripts/tools";
import { findOnPath } from "../../../../scripts/tools/processes";
import { command } from "../../../hosts/command";
import { whyNoMachines } from "../../../hosts/image";
import { controlPlaneInstalled, prepareControlPlane } from "../controlPlane";
import { defaultSettings } from "../controlPlane/settings";
import { installObjectStore, objectStoreInstalled } from "./objectStore";

/** Pulumi, and what `npm run artifacts` collects. */
const TOOLS: readonly ToolName[] = ["pulumi", "consul", "consul-template", "fabio", "serf"];
const PLUGINS = ["openstack", "consul"] as const;
const ARTIFACTS_TIMEOUT = 300_000;

/** The folder of what machines fetch. */
export const artifactsFolder = () => join(gatewayHome().root, "artifacts");

/** What is missing and cannot be got here; empty when the tests can run. To be asked after {@link prepare}. */
export async function missingParts(): Promise<string[]> {
    const reason = whyNoMachines();
    const tools = TOOLS.filter((name) => !toolPath(name));
    const plugins = PLUGINS.filter((name) => !pluginAvailable(name, pluginVersion(name)));
    return [
        ...(reason ? [reason] : []),
        ...(tools.length > 0 ? [`the tools ${tools.join(", ")} (npm run tools)`] : []),
        ...(plugins.length > 0 ? [`Pulumi's plugins ${plugins.join(", ")}`] : []),
        ...(objectStoreInstalled() ? [] : ["an object store (Python 3 with venv, and PyPI)"]),
        ...((await controlPlaneInstalled(defaultSettings())) ? [] : ["OpenStack's packages (Debian 12)"]),
    ];
}

/**
 * Gets what can be got, while there still is a world outside. What fails is told, and named by {@link missingParts}.
 *
 * @param say told what is done.
 */
export async function prepare(say: (line: string) => void): Promise<void> {
    if (whyNoMachines()) return;
    const attempt = async (what: string, get: () => Promise<unknown>) => {
        try {
            await get();
        } catch (error) {
            say(`${what}: ${(error as Error).message}`);
        }
    };
    await attempt("tools", () => ensureTools(TOOLS, { progress: say }));
    for (const name of PLUGINS) {
        await attempt("plugin", () => ensurePlugin(name, pluginVersion(name), { progress: say }));
    }
    if (findOnPath("python3")) await attempt("object store", () => installObjectStore(say));
    await attempt("OpenStack", () => prepareControlPlane(defaultSettings(), say));
    if ((await missingParts()).length > 0) return;
    const collect = ["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", artifactsFolder()];
    await command(collect, { timeoutMs: ARTIFACTS_TIMEOUT });
}
