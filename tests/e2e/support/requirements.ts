/** What end-to-end tests need on this computer, whichever cloud they are about. */
import { join } from "node:path";
import { gatewayHome } from "../../../components/local/home";
import {
    ensurePlugin,
    ensureTools,
    pluginAvailable,
    pluginVersion,
    type ToolName,
    toolPath,
} from "../../../scripts/tools";
import { findOnPath } from "../../../scripts/tools/processes";
import { command } from "../../hosts/command";
import { whyNoMachines } from "../../hosts/image";
import { installMoto, motoInstalled } from "./moto";

/** Pulumi, and what `npm run artifacts` collects. */
const TOOLS: readonly ToolName[] = ["pulumi", "consul", "consul-template", "fabio", "serf"];
const ARTIFACTS_TIMEOUT = 300_000;

/** The folder of what machines fetch. */
export const artifactsFolder = () => join(gatewayHome().root, "artifacts");

/** Something else that a suite needs. */
export interface Part {
    /** As it is told when it is missing, with what it needs in turn. */
    readonly name: string;
    readonly available: () => boolean | Promise<boolean>;
    /** Gets it. @throws Error when it cannot be had. */
    readonly get: (say: (line: string) => void) => Promise<unknown>;
}

/** What a suite needs. */
export class Requirements {
    /**
     * @param plugins of Pulumi's.
     * @param parts what only this suite needs.
     */
    constructor(
        private readonly plugins: readonly string[],
        private readonly parts: readonly Part[] = [],
    ) {}

    /** What is missing and cannot be got here; empty when the tests can run. To be asked after {@link prepare}. */
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
     * Gets what can be got, while there still is a world outside. What fails is told, and named by {@link missing}.
     *
     * @param say told what is done.
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
        const collect = ["npx", "--no-install", "tsx", "scripts/artifacts.ts", "--out", artifactsFolder()];
        await command(collect, { timeoutMs: ARTIFACTS_TIMEOUT });
    }
}
