/** The stack jetstream for tests: as it is committed, with artifacts that need no download, and secrets. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { testManifest } from "./artifacts";

const read = (stack: string) =>
    (parse(readFileSync(join(__dirname, `../../../Pulumi.${stack}.yaml`), "utf8")) as { config: object })
        .config as Record<string, Record<string, unknown>>;

/** The committed configuration of jetstream. */
export const jetstreamStack = read("jetstream");
/** The committed configuration of hybrid. */
export const hybridStack = read("hybrid");

/** What nobody commits. */
export const loopSecrets = {
    replacerPassphrase: "value of replacerPassphrase",
    replacerCredentialSecret: "value of replacerCredentialSecret",
    replacerStateAccess: "value of replacerStateAccess",
    replacerStateSecret: "value of replacerStateSecret",
} as const;

/** The key of the configuration that holds {@link loopSecrets}, for `secretKeys`. */
export const SECRETS_KEY = "gateway:secrets";

/**
 * A committed stack with a manifest below GATEWAY_HOME, which lists the programs of these sources, and with secrets.
 *
 * @param changes whole keys; maps are merged with what is committed, one level deep.
 */
export function cloudConfig(
    changes: Readonly<Record<string, unknown>> = {},
    stack: Readonly<Record<string, Record<string, unknown>>> = jetstreamStack,
): Record<string, unknown> {
    const merged: Record<string, unknown> = {
        ...stack,
        "gateway:image": { ...stack["gateway:image"], manifest: testManifest() },
        [SECRETS_KEY]: loopSecrets,
    };
    for (const [key, value] of Object.entries(changes)) {
        merged[key] =
            typeof value === "object" && !Array.isArray(value) ? { ...(merged[key] as object), ...value } : value;
    }
    return merged;
}
