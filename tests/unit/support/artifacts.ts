import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundle, cloudPrograms, programFile } from "../../../components/bundles";
import type { ArtifactManifest } from "../../../roles/render/cloudInit";

/** Tools that machines of a cloud fetch. */
const TOOLS = [
    ...["node", "consul", "consul-template", "fabio", "serf"],
    ...["pulumi", "pulumi-resource-openstack", "pulumi-resource-consul"],
];

/** Writes a manifest below GATEWAY_HOME that lists the programs of these sources. @returns its path. */
export function testManifest(): string {
    const path = join(process.env.GATEWAY_HOME as string, "artifacts.json");
    const tool = (name: string) => ({ name, version: "1", sha256: "c".repeat(64), size: 1 });
    const bundles = cloudPrograms.map((name) => ({ ...tool(programFile(name)), sha256: bundle(name).sha256 }));
    const content: ArtifactManifest = { artifacts: [...TOOLS.map(tool), ...bundles] };
    writeFileSync(path, JSON.stringify(content));
    return path;
}
