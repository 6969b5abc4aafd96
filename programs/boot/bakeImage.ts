/** Installs binaries in an image, so that its machines need not fetch them. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { versions } from "../../toolchain/manifest";
import { ensureBinary } from "./binaries";
import { type ArtifactManifest, type CloudBinary, cloudLayout } from "./description";
import type { System } from "./system";

/**
 * Installs every artifact of a folder, HAProxy and keepalived where machines expect them. Nothing else of a machine is
 * in an image: no configuration and no secret.
 *
 * @param folder the output of `npm run artifacts`.
 * @throws Error if something is missing or does not have its checksum.
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
