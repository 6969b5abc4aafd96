/**
 * What the program is given besides its own code: the configuration, and which files machines fetch. The deployment's
 * state keeps it, so that the replacement loop, on a machine without a checkout, makes of it the very same resources.
 */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import * as runtime from "@pulumi/pulumi/runtime";
import { z } from "zod";
import type { ArtifactManifest } from "../roles/render/cloudInit";
import { allBundles, useBundles } from "./bundles";

/** Name of the stack's output that holds it. */
export const givenOutput = "deployed";

/** The shape of the stack's output. */
export const givenSchema = z.object({
    /** The stack's configuration as the engine has it: strings, structured values as JSON. */
    config: z.record(z.string(), z.string()),
    /** Keys of those that are secret. */
    secretKeys: z.array(z.string()),
    /** The files that machines fetch; absent where their image holds them. */
    artifacts: z
        .object({
            artifacts: z.array(
                z.object({ name: z.string(), version: z.string(), sha256: z.string(), size: z.number() }),
            ),
        })
        .optional(),
    /** This project's programs on machines, by name. */
    bundles: z.record(z.string(), z.object({ file: z.string(), sha256: z.string() })),
});

/** What the program was given. */
export type Given = z.infer<typeof givenSchema>;

let taken: Given | undefined;
let read: ArtifactManifest | undefined;

/**
 * Has the program take what a deployment was given, instead of what it finds on this computer. To be called at the
 * beginning of the program's run, whose configuration it replaces.
 *
 * @param given undefined: from now on again what it finds.
 */
export function takeGiven(given: Given | undefined): void {
    taken = given;
    if (given) runtime.setAllConfig(given.config, given.secretKeys);
    useBundles(given && ((name) => given.bundles[name]));
}

/** The SDK's own test for secret settings, which it keeps out of its declarations. */
export function isConfigSecret(key: string): boolean {
    return (runtime as { isConfigSecret?: (key: string) => boolean }).isConfigSecret?.(key) === true;
}

/**
 * The list of the files that machines fetch.
 *
 * @param manifest its path, from the project's folder.
 * @throws pulumi.RunError when it is not there, with the command that makes it.
 */
export function artifactManifest(manifest: string, base: string): ArtifactManifest {
    if (taken?.artifacts) return taken.artifacts;
    const path = resolve(manifest);
    if (!existsSync(path)) {
        throw new pulumi.RunError(
            `gateway:image.manifest: there is no ${manifest}; "npm run artifacts -- --out ${manifest.replace(/\/?[^/]*$/, "") || "."}" ` +
                `makes it, with what belongs at ${base}`,
        );
    }
    read = JSON.parse(readFileSync(path, "utf8")) as ArtifactManifest;
    return read;
}

/** What this run of the program was given, for the stack's output. Secret, because the configuration may be. */
export function given(): pulumi.Output<unknown> {
    if (taken) return pulumi.secret(taken);
    const config: Record<string, string> = runtime.allConfig();
    return pulumi.secret({
        config,
        secretKeys: Object.keys(config).filter(isConfigSecret),
        bundles: allBundles(),
        ...(read ? { artifacts: read } : {}),
    });
}
