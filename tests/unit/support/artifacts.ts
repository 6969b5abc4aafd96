import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundle, programs } from "../../../components/bundles";
import type { ArtifactManifest } from "../../../roles/render/cloudInit";

/** Tools that machines of a cloud fetch. */
const TOOLS = ["node", "consul", "consul-template", "fabio", "serf"];

/** Writes a manifest below GATEWAY_HOME that lists the programs of these sources. @returns its path. */
export function testManifest(): string {
    const path = join(process.env.GATEWAY_HOME as string, "artifacts.json");
    const tool = (name: string) => ({ name, version: "1", sha256: "c".repeat(64), size: 1 });
    const bundles = (Object.keys(programs) as (keyof typeof programs)[])
        .filter((name) => name !== "supervisor")
        .map((name) => ({ ...tool(`${name}.cjs`), sha256: bundle(name).sha256 }));
    const content: ArtifactManifest = { artifacts: [...TOOLS.map(tool), ...bundles] };
    writeFileSync(path, JSON.stringify(content));
    return path;
}
