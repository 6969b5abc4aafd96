/** Puts binaries into an image, so that its machines need not fetch them. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type ArtifactManifest, type CloudBinary, cloudLayout } from "../roles/render/cloudInit";
import { versions } from "../scripts/tools/manifest";
import { ensureBinary } from "./binaries";
import type { System } from "./system";

/**
 * Puts every artifact of a folder, HAProxy and keepalived where machines look for them. Nothing else of a machine is there yet:
 * an image holds no configuration and no secret.
 *
 * @param folder what `npm run artifacts` made.
 * @throws Error when something is missing or is not what its checksum says.
 */
export async function bake(system: System, folder: string): Promise<void> {
    const { artifacts } = JSON.parse(readFileSync(join(folder, "artifacts.json"), "utf8")) as ArtifactManifest;
    const directories = cloudLayout("image", "127.0.0.1");
    const binaries: CloudBinary[] = [
        { kind: "package", name: "haproxy", package: "haproxy", lowest: versions.haproxy },
        { kind: "package", name: "keepalived", package: "keepalived" },
        ...artifacts.map(({ name, sha256 }): CloudBinary => {
            const url = pathToFileURL(resolve(folder, sha256, name)).href;
            return { kind: "file", name, sha256, urls: [url] };
        }),
    ];
    for (const binary of binaries) {
        await ensureBinary(system, { directories }, binary);
        system.say(`${directories.bin}/${binary.name} is there`);
    }
}
