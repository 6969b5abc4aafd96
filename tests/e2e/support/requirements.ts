/** What all end-to-end tests need on this computer, for any cloud. */
import { join } from "node:path";
import { gatewayHome } from "../../../lib/home";
import { ensurePlugin, ensureTools, pluginAvailable, pluginVersion, type ToolName, toolPath } from "../../../toolchain";
import { findOnPath } from "../../../toolchain/processes";
import { command } from "../../hosts/command";
import { whyNoMachines } from "../../hosts/image";
import { installMoto, motoInstalled } from "./moto";

/** Pulumi, and what `npm run artifacts` collects. */
const TOOLS: readonly ToolName[] = ["pulumi", "consul", "consul-template", "fabio", "serf"];
const ARTIFACTS_TIMEOUT = 300_000;

/** The folder of the files that machines fetch: one for each suite, because suites run side by side. */
export const artifactsFolder = (suite: "aws" | "openstack") => join(gatewayHome().root, "artifacts", suite);

/** A further requirement of a suite. */
export interface Part {
    /** Its name in messages, with its own requirements. */
    readonly name: string;
    readonly available: () => boolean | Promise<boolean>;
    /** Installs it. @throws Error if that fails. */
    readonly get: (say: (line: string) => void) => Promise<unknown>;
}

/** The requirements of a suite. */
export class Requirements {
    /**
     * @param suite its folder's name.
     * @param plugins of Pulumi's.
     * @param parts what only this suite needs.
     */
    constructor(
        private readonly suite: "aws" | "openstack",
        private readonly plugins: readonly string[],
        private readonly parts: readonly Part[] = [],
    ) {}

    /** What is missing and cannot be installed here; empty if the tests can run. Call it after {@link prepare}. */
    async missing(): Promise<string[]> {
        const reason = whyNoMachines();
        const tools = TOOLS.filter((name) => !toolPath(name));
        const plugins = this.plugins.filter((name) => !pluginAvailable(name, pluginVersion(name)));
        const available = await Promise.all(this.parts.map((part) => part.available()));
        return [
            ...(reason ? [reason] : []),
            ...(tools.length > 0 ? [`the tools ${tools.join(", ")} (npm run tools)`] : []),
            ...plugins.map((name) => `Pulumi's plugin ${name}`),
            ...(motoInstalled() ? [] : ["moto (Python 3 with venv, and PyPI)"]),
            ...this.parts.filter((_, index) => !available[index]).map(({ name }) => name),
        ];
    }

    /**
     * Installs what it can, while the network outside is reachable. It reports what fails, and {@link missing} names
     * it.
     *
     * @param say receives messages about the progress.
     */
    async prepare(say: (line: string) => void): Promise<void> {
        if (whyNoMachines()) return;
        const attempt = async (what: string, get: () => Promise<unknown>) => {
            try {
                await get();
            } catch (error) {
                say(`${what}: ${(error as Error).message}`);
            }
        };
        await attempt("tools", () => ensureTools(TOOLS, { progress: say }));
        for (const name of this.plugins) {
            await attempt("plugin", () => ensurePlugin(name, pluginVersion(name), { progress: say }));
        }
        if (findOnPath("python3")) await attempt("moto", () => installMoto(say));
        for (const { name, get } of this.parts) await attempt(name, () => get(say));
        if ((await this.missing()).length > 0) return;
        const collect = ["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", artifactsFolder(this.suite)];
        await command(collect, { timeoutMs: ARTIFACTS_TIMEOUT });
    }
}
