/**
 * What a run of the program needs besides its configuration: this project's programs for machines, and the list of
 * files that machines fetch. A run takes them from the sources, or as they were deployed.
 */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import * as runtime from "@pulumi/pulumi/runtime";
import type { ImageConfig } from "../config";
import type { ArtifactManifest } from "../programs/boot/description";
import type { DeployedInputs } from "../programs/replacer/deployedInputs";
import type { ArtifactSource } from "../roles/render/cloudInit";
import { type Bundle, type ProgramName, SourceBundles } from "../toolchain/bundles";

/** Where a run of the program gets the programs for machines. Each target has one. */
export interface ProgramFiles {
    /** One of this project's programs as one file. */
    bundle(name: ProgramName): Bundle;
    /** The replacement loop as it runs on this computer, compiled from the sources. @throws Error where there are none. */
    loopProgram(): Bundle;
    /**
     * Where the machines of a cloud get their programs, as configured.
     *
     * @throws pulumi.RunError if the list of artifacts is missing, with the command that creates it.
     */
    artifacts(image: ImageConfig): ArtifactSource;
    /** The deployed inputs of this run, for the stack's output. Secret, because the configuration may be. */
    deployedInputs(): pulumi.Output<unknown>;
}

/**
 * Programs that are built from this project's sources.
 *
 * @param program folder of the Pulumi program, which holds its `loop.ts`; see {@link SourceBundles}.
 */
export function filesFromSources(program: string): ProgramFiles {
    const bundles = new SourceBundles(program);
    let read: ArtifactManifest | undefined;
    return {
        bundle: (name) => bundles.bundle(name),
        loopProgram: () => bundles.loopProgram(),
        artifacts: (image) =>
            artifactSource(image, (base) => {
                read = readManifest(image.manifest, base);
                return read;
            }),
        deployedInputs() {
            const config: Record<string, string> = runtime.allConfig();
            return pulumi.secret({
                config,
                secretKeys: Object.keys(config).filter(isConfigSecret),
                bundles: bundles.all(),
                ...(read ? { artifacts: read } : {}),
            });
        },
    };
}

/** Programs as they were deployed, where there are no sources. */
export function filesAsDeployed(inputs: DeployedInputs): ProgramFiles {
    return {
        bundle(name) {
            const found = inputs.bundles[name];
            if (!found) throw new Error(`the deployment knows no program ${name}`);
            return found;
        },
        loopProgram() {
            throw new Error("target local needs this project's sources");
        },
        artifacts: (image) => artifactSource(image, (base) => inputs.artifacts ?? readManifest(image.manifest, base)),
        deployedInputs: () => pulumi.secret(inputs),
    };
}

function artifactSource(
    { prebaked, artifacts }: ImageConfig,
    manifest: (base: string) => ArtifactManifest,
): ArtifactSource {
    if (prebaked || artifacts === undefined) return { kind: "prebaked" };
    return { kind: "url", base: artifacts, manifest: manifest(artifacts) };
}

/** @param path from the working directory, which is the program's folder. */
function readManifest(path: string, base: string): ArtifactManifest {
    const file = resolve(path);
    if (!existsSync(file)) {
        throw new pulumi.RunError(
            `gateway:image.manifest: there is no ${path}; "npm run artifacts -- --out ${path.replace(/\/?[^/]*$/, "") || "."}" ` +
                `makes it, with what belongs at ${base}`,
        );
    }
    return JSON.parse(readFileSync(file, "utf8")) as ArtifactManifest;
}

/** The SDK's own test for secret settings, which it keeps out of its declarations. */
function isConfigSecret(key: string): boolean {
    return (runtime as { isConfigSecret?: (key: string) => boolean }).isConfigSecret?.(key) === true;
}
