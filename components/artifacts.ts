/** Where the machines of a cloud have their programs from, as the configuration says. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import type { ArtifactManifest, ArtifactSource } from "../roles/render/cloudInit";
import type { ImageConfig } from "./config";

/** @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it. */
export function artifactSource({ prebaked, artifacts, manifest }: ImageConfig): ArtifactSource {
    if (prebaked || artifacts === undefined) return { kind: "prebaked" };
    const path = resolve(manifest);
    if (!existsSync(path)) {
        throw new pulumi.RunError(
            `gateway:image.manifest: there is no ${manifest}; "npm run artifacts -- --out ${manifest.replace(/\/?[^/]*$/, "") || "."}" ` +
                `makes it, with what belongs at ${artifacts}`,
        );
    }
    return { kind: "url", base: artifacts, manifest: JSON.parse(readFileSync(path, "utf8")) as ArtifactManifest };
}
