/** Whether this process could decrypt a stack's secrets, found out without the CLI, and before anything needs them. */
import { createDecipheriv, pbkdf2 } from "node:crypto";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

/** The used part of the engine's state. */
export interface SecretsOfState {
    readonly secrets_providers?: { readonly type?: string; readonly state?: { readonly salt?: string } };
}

/** Iterations and length of the key's derivation (pulumi: sdk/go/common/resource/config/crypt.go). */
const KEY = { iterations: 1_000_000, bytes: 32, digest: "sha256" } as const;
/** Bytes of the tag at the end of an AES-GCM ciphertext. */
const TAG = 16;

/** Where the engine takes the passphrase from, and what it is. It asks in this order, and an empty value counts. */
function passphraseOf(environment: NodeJS.ProcessEnv): { readonly from: string; readonly text: string } | string {
    const { PULUMI_CONFIG_PASSPHRASE: given, PULUMI_CONFIG_PASSPHRASE_FILE: file } = environment;
    if (given !== undefined) return { from: "PULUMI_CONFIG_PASSPHRASE", text: given };
    if (!file) return "neither PULUMI_CONFIG_PASSPHRASE nor PULUMI_CONFIG_PASSPHRASE_FILE is set";
    try {
        return { from: file, text: readFileSync(file, "utf8").trim() };
    } catch (error) {
        return `the passphrase's file cannot be read: ${(error as Error).message}`;
    }
}

/**
 * Why the engine in this environment cannot decrypt a state's secrets; undefined when it can, or when a passphrase does not
 * protect them. Takes half a second of a processor, in another thread.
 */
export async function secretsProblem(
    state: SecretsOfState,
    environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
    const { type, state: { salt } = {} } = state.secrets_providers ?? {};
    if (type !== "passphrase" || salt === undefined) return undefined;
    const found = passphraseOf(environment);
    if (typeof found === "string") return found;
    return (await opens(found.text, salt))
        ? undefined
        : `the passphrase in ${found.from} is not the one that the stack was deployed with`;
}

/** Whether a passphrase fits the salt, which ends with a known word, encrypted: `v1:SALT:v1:NONCE:CIPHERTEXT`. */
async function opens(passphrase: string, state: string): Promise<boolean> {
    const [, salt = "", , nonce = "", sealed = ""] = state.split(":");
    const bytes = (text: string) => Buffer.from(text, "base64");
    const key = await promisify(pbkdf2)(passphrase, bytes(salt), KEY.iterations, KEY.bytes, KEY.digest);
    try {
        const decipher = createDecipheriv("aes-256-gcm", key, bytes(nonce));
        const whole = bytes(sealed);
        decipher.setAuthTag(whole.subarray(-TAG));
        return Buffer.concat([decipher.update(whole.subarray(0, -TAG)), decipher.final()]).toString() === "pulumi";
    } catch {
        return false;
    }
}
