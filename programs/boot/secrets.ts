/** Gets the machine's secrets from the source that its user data names. They stay in memory and are never printed. */
import { GetParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import type { SecretSource } from "./description";
import { mailboxOf } from "./mailbox";
import type { System } from "./system";

/** The most names that one call of the API takes. */
const NAMES_PER_CALL = 10;

/**
 * Reads secrets by name; waits for those that are delivered.
 *
 * @param etc the machine's directory of configuration.
 * @throws Error that names secrets that do not exist or may not be read. Its message holds no value.
 */
export async function readSecrets(
    source: SecretSource,
    names: readonly string[],
    system: System,
    etc: string,
): Promise<Record<string, string>> {
    if (source.kind === "delivered") {
        const { secrets } = await mailboxOf(system, etc, source.endpoint).delivery();
        return complete(secrets, names, "the delivery");
    }
    if (names.length === 0) return {};
    if (source.kind === "none") throw new Error(`there is no source of the secrets ${names.join(", ")}`);
    return fromParameters(source, names);
}

function complete(
    secrets: Readonly<Record<string, string>>,
    names: readonly string[],
    where: string,
): Record<string, string> {
    const missing = names.filter((name) => secrets[name] === undefined);
    if (missing.length > 0) throw new Error(`${where} lacks ${missing.join(", ")}`);
    return { ...secrets };
}

async function fromParameters(
    source: Extract<SecretSource, { kind: "ssm" }>,
    names: readonly string[],
): Promise<Record<string, string>> {
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
        return complete(secrets, names, source.prefix);
    } finally {
        client.destroy();
    }
}
