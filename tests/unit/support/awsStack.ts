/** The stack aws-dev for tests: the committed configuration, with artifacts that need no download. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { parse } from "yaml";
import type { CloudMachine } from "../../../programs/boot/description";
import { testManifest } from "./artifacts";

const project = join(__dirname, "../../..");

/** The committed configuration of aws-dev. */
export const awsDevStack = (parse(readFileSync(join(project, "Pulumi.aws-dev.yaml"), "utf8")) as { config: object })
    .config as Record<string, Record<string, unknown>>;

/**
 * The same with its own manifest below GATEWAY_HOME, which lists the programs of these sources.
 *
 * @param changes whole keys; maps are merged with the committed ones, one level deep.
 */
export function awsDevConfig(changes: Record<string, Record<string, unknown> | string> = {}): Record<string, unknown> {
    const manifest = testManifest();
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
