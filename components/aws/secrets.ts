import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** The parameters that hold the deployment's secrets, by the secret's name. */
export type SecretParameters = Readonly<Record<string, aws.ssm.Parameter>>;

/** What the names of a stack's parameters begin with; without a slash at the end. */
export function secretPrefix(): string {
    return `/${pulumi.getProject()}/${pulumi.getStack()}`;
}

/**
 * Stores secrets as encrypted parameters, one for each, so that each role can be allowed to read exactly its own.
 *
 * @param keyId a KMS key; undefined: AWS's own for parameters, which costs nothing.
 */
export function secretParameters(
    name: string,
    names: readonly string[],
    secrets: pulumi.Output<Record<string, string>>,
    keyId: string | undefined,
    options: pulumi.CustomResourceOptions,
): SecretParameters {
    return Object.fromEntries(
        names.map((secret) => [
            secret,
            new aws.ssm.Parameter(
                `${name}-${secret}`,
                {
                    name: `${secretPrefix()}/${secret}`,
                    type: "SecureString",
                    value: pulumi.secret(secrets.apply((all) => all[secret] ?? "")),
                    description: "Read by machines at boot",
                    ...(keyId ? { keyId } : {}),
                },
                options,
            ),
        ]),
    );
}
