/** Where the machines of a cloud have their programs from, as the configuration says. */
import type { ArtifactSource } from "../roles/render/cloudInit";
import type { ImageConfig } from "./config";
import { artifactManifest } from "./given";

/** @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it. */
export function artifactSource({ prebaked, artifacts, manifest }: ImageConfig): ArtifactSource {
    if (prebaked || artifacts === undefined) return { kind: "prebaked" };
    return { kind: "url", base: artifacts, manifest: artifactManifest(manifest, artifacts) };
}
