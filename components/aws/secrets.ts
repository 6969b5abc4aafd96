import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

/** The parameters that hold the deployment's secrets, by the secret's name. */
export type SecretParameters = Readonly<Record<string, aws.ssm.Parameter>>;

/**
 * Stores each secret as an encrypted parameter, so that each role can be allowed to read exactly its own.
 *
 * @param prefix of the parameters' names, without a slash at the end.
 * @param keyId a KMS key; undefined: AWS's own for parameters, which costs nothing.
 */
export function secretParameters(
    name: string,
    names: readonly string[],
    secrets: pulumi.Output<Record<string, string>>,
    prefix: string,
    keyId: string | undefined,
    options: pulumi.CustomResourceOptions,
): SecretParameters {
    return Object.fromEntries(
        names.map((secret) => [
            secret,
            new aws.ssm.Parameter(
                `${name}-${secret}`,
                {
                    name: `${prefix}/${secret}`,
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
