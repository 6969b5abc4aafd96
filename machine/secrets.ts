/** Gets the machine's secrets from where its user data says. They are held in memory only, and never printed. */
import { GetParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import type { SecretSource } from "../roles/render/cloudInit";

/** The most names that one call of the API takes. */
const NAMES_PER_CALL = 10;

/**
 * Reads secrets by name.
 *
 * @throws Error naming those that do not exist or may not be read; its message holds no value.
 */
export async function readSecrets(source: SecretSource, names: readonly string[]): Promise<Record<string, string>> {
    if (names.length === 0) return {};
    if (source.kind === "none") throw new Error(`there is no source of the secrets ${names.join(", ")}`);
    // Without an endpoint the library honours AWS_ENDPOINT_URL_SSM.
    const client = new SSMClient({
        region: source.region,
        maxAttempts: 5,
        ...(source.endpoint ? { endpoint: source.endpoint } : {}),
    });
    try {
        const secrets: Record<string, string> = {};
        for (let first = 0; first < names.length; first += NAMES_PER_CALL) {
            const paths = names.slice(first, first + NAMES_PER_CALL).map((name) => `${source.prefix}/${name}`);
            const answer = await client.send(new GetParametersCommand({ Names: paths, WithDecryption: true }));
            for (const { Name = "", Value } of answer.Parameters ?? []) {
                if (Value !== undefined) secrets[Name.slice(source.prefix.length + 1)] = Value;
            }
        }
        const missing = names.filter((name) => secrets[name] === undefined);
        if (missing.length > 0) throw new Error(`${source.prefix} lacks ${missing.join(", ")}`);
        return secrets;
    } finally {
        client.destroy();
    }
}
