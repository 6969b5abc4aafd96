import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ArtifactManifest } from "../../../programs/boot/description";
import { cloudPrograms, programFile, SourceBundles } from "../../../toolchain/bundles";
import { pinnedNode } from "../../../toolchain/node";

/** Tools that cloud machines fetch. */
const TOOLS = [
    ...["consul", "consul-template", "fabio", "serf"],
    ...["pulumi", "pulumi-resource-openstack", "pulumi-resource-consul"],
];

/** Writes a manifest below GATEWAY_HOME that lists the programs of these sources. @returns its path. */
export function testManifest(): string {
    const path = join(process.env.GATEWAY_HOME as string, "artifacts.json");
    const tool = (name: string) => ({ name, version: "1", sha256: "c".repeat(64), size: 1 });
    const bundles = cloudPrograms.map((name) => ({
        ...tool(programFile(name)),
        sha256: new SourceBundles().bundle(name).sha256,
    }));
    const node = { ...tool("node"), sha256: pinnedNode.sha256.x64 };
    const content: ArtifactManifest = { artifacts: [node, ...TOOLS.map(tool), ...bundles] };
    writeFileSync(path, JSON.stringify(content));
    return path;
}
