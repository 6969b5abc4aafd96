import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { AwsContext } from "./context";
import { iamPrefix } from "./naming";
import type { SecretParameters } from "./secrets";

/** A statement of a policy that allows something. */
export interface Allow {
    readonly Action: readonly string[];
    readonly Resource: pulumi.Input<pulumi.Input<string>[] | string>;
    readonly Condition?: Readonly<Record<string, Readonly<Record<string, pulumi.Input<string | string[]>>>>>;
}

/** What the machines of one kind may do at AWS. */
export interface MachineRights {
    /** Names of the secrets that they read. */
    readonly secrets: readonly string[];
    readonly parameters: SecretParameters;
    /** Permissions besides reading their secrets. */
    readonly more: readonly Allow[];
}

/** The identity of the machines of one kind. */
export interface MachineIdentity {
    readonly profile: aws.iam.InstanceProfile;
    readonly role: aws.iam.Role;
    /** Without it a machine cannot read its secrets. */
    readonly policy: aws.iam.RolePolicy;
}

/** Creates the role of the machines of one kind, which allows only what they need. */
export function machineIdentity(
    name: string,
    context: Pick<AwsContext, "names" | "region" | "settings">,
    rights: MachineRights,
    options: pulumi.CustomResourceOptions,
): MachineIdentity {
    const { path, permissionsBoundary } = context.settings.iam;
    const named = { namePrefix: iamPrefix(context.names, name), path };
    const role = new aws.iam.Role(
        `${name}-role`,
        {
            ...named,
            description: "Machines of the API gateway's deployment",
            ...(permissionsBoundary === undefined ? {} : { permissionsBoundary }),
            assumeRolePolicy: JSON.stringify({
                Version: "2012-10-17",
                Statement: [{ Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" }],
            }),
        },
        options,
    );
    const policy = new aws.iam.RolePolicy(
        `${name}-policy`,
        {
            role: role.id,
            policy: pulumi.jsonStringify({
                Version: "2012-10-17",
                Statement: statements(context, rights).map((allow) => ({ Effect: "Allow", ...allow })),
            }),
        },
        options,
    );
    const profile = new aws.iam.InstanceProfile(`${name}-profile`, { ...named, role: role.name }, options);
    return { profile, role, policy };
}

function statements(
    { region, settings: { kmsKeyArn } }: Pick<AwsContext, "region" | "settings">,
    { secrets, parameters, more }: MachineRights,
): Allow[] {
    const arns = secrets.map((secret) => (parameters[secret] as aws.ssm.Parameter).arn);
    return [
        { Action: ["ssm:GetParameters"], Resource: arns },
        // With AWS's own key, everyone can decrypt who may read the parameter.
        ...(kmsKeyArn
            ? [
                  {
                      Action: ["kms:Decrypt"],
                      Resource: kmsKeyArn,
                      Condition: {
                          StringEquals: {
                              "kms:ViaService": `ssm.${region}.amazonaws.com`,
                              "kms:EncryptionContext:PARAMETER_ARN": arns as unknown as string[],
                          },
                      },
                  },
              ]
            : []),
        ...more,
    ];
}
