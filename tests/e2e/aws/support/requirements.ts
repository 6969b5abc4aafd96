/** What the end-to-end tests of target aws need on this computer. */
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
import { emulatorInstalled, installEmulator } from "./emulator";

/** Pulumi, and what `npm run artifacts` collects. */
const TOOLS: readonly ToolName[] = ["pulumi", "consul", "consul-template", "fabio", "serf"];
const ARTIFACTS_TIMEOUT = 300_000;

/** The folder of what machines fetch. */
export const artifactsFolder = () => join(gatewayHome().root, "artifacts");

/** What is missing and cannot be got here; empty when the tests can run. To be asked after {@link prepare}. */
export function missingParts(): string[] {
    const reason = whyNoMachines();
    const tools = TOOLS.filter((name) => !toolPath(name));
    return [
        ...(reason ? [reason] : []),
        ...(tools.length > 0 ? [`the tools ${tools.join(", ")} (npm run tools)`] : []),
        ...(pluginAvailable("aws", pluginVersion("aws")) ? [] : ["Pulumi's plugin for AWS"]),
        ...(emulatorInstalled() ? [] : ["the emulator of AWS's API (Python 3 with venv, and PyPI)"]),
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
    await attempt("plugin", () => ensurePlugin("aws", pluginVersion("aws"), { progress: say }));
    if (findOnPath("python3")) await attempt("emulator", () => installEmulator(say));
    if (missingParts().length > 0) return;
    const collect = ["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", artifactsFolder()];
    await command(collect, { timeoutMs: ARTIFACTS_TIMEOUT });
}
