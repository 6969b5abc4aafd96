/** The stack aws-dev for tests: as it is committed, with artifacts that need no download. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { parse } from "yaml";
import { bundle, programs } from "../../../components/bundles";
import type { ArtifactManifest, CloudMachine } from "../../../roles/render/cloudInit";

const project = join(__dirname, "../../..");

/** The committed configuration of aws-dev. */
export const awsDevStack = (parse(readFileSync(join(project, "Pulumi.aws-dev.yaml"), "utf8")) as { config: object })
    .config as Record<string, Record<string, unknown>>;

/**
 * The same with a manifest of its own below GATEWAY_HOME, which lists the programs of these sources.
 *
 * @param changes whole keys; maps are merged with what is committed, one level deep.
 */
export function awsDevConfig(changes: Record<string, Record<string, unknown> | string> = {}): Record<string, unknown> {
    const manifest = join(process.env.GATEWAY_HOME as string, "artifacts.json");
    const tool = (name: string) => ({ name, version: "1", sha256: "c".repeat(64), size: 1 });
    const bundles = (Object.keys(programs) as (keyof typeof programs)[])
        .filter((name) => name !== "supervisor")
        .map((name) => ({ ...tool(`${name}.cjs`), sha256: bundle(name).sha256 }));
    const content: ArtifactManifest = {
        artifacts: [...["node", "consul", "consul-template", "fabio", "serf"].map(tool), ...bundles],
    };
    writeFileSync(manifest, JSON.stringify(content));
    const merged = { ...awsDevStack, "gateway:image": { ...awsDevStack["gateway:image"], manifest } } as Record<
        string,
        unknown
    >;
    for (const [key, value] of Object.entries(changes)) {
        merged[key] = typeof value === "string" ? value : { ...(merged[key] as object), ...value };
    }
    return merged;
}

/** User data as cloud-init reads it. */
export function decodeUserData(userData: unknown): { bytes: number; text: string; machine: CloudMachine } {
    const packed = Buffer.from(String(userData), "base64");
    const text = gunzipSync(packed).toString("utf8");
    const { write_files: files } = parse(text) as { write_files: { path: string; content: string }[] };
    const content = files.find(({ path }) => path.endsWith("/machine.json"))?.content ?? "";
    return { bytes: packed.length, text, machine: JSON.parse(content) as CloudMachine };
}
