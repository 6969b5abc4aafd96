import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../../config";
import { commonTags } from "./naming";

/** The services that the program uses, as the provider's `endpoints` names them. */
const SERVICES = ["autoscaling", "ec2", "elbv2", "iam", "ssm", "sts"] as const;

/** Credentials for an emulator, which takes any. */
export const emulatorCredentials = { accessKey: "test", secretKey: "test" } as const;

/**
 * The provider of AWS's resources. The region is the configuration's, whatever the environment says. The credentials
 * are those that AWS's own tools would use (environment, profile, single sign-on, instance role).
 */
export function awsProvider(
    name: string,
    { region = "", emulator, tags }: AwsConfig,
    opts: pulumi.ResourceOptions,
): aws.Provider {
    return new aws.Provider(
        name,
        {
            region: region as aws.Region,
            defaultTags: { tags: commonTags({ tags }) },
            ...(emulator
                ? {
                      ...emulatorCredentials,
                      skipCredentialsValidation: true,
                      skipMetadataApiCheck: true,
                      endpoints: [Object.fromEntries(SERVICES.map((service) => [service, emulator.api]))],
                  }
                : {}),
        },
        opts,
    );
}
