import * as pulumi from "@pulumi/pulumi";
import type { CredentialsInputs } from "./credentialsProvider";
import { moduleProvider } from "./dynamicProvider";

/** The certificates, tokens and keys of a deployment on this computer. They live in the stack's state, as secrets. */
export class LocalCredentials extends pulumi.dynamic.Resource {
    /** The authority's certificate, PEM. */
    declare readonly caCertificate: pulumi.Output<string>;
    /** The Consul servers' certificate, PEM. */
    declare readonly serverCertificate: pulumi.Output<string>;
    /** Every secret by name. Secret. */
    declare readonly secrets: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: CredentialsInputs, opts: pulumi.CustomResourceOptions) {
        super(
            moduleProvider("./components/local/credentialsProvider.ts"),
            name,
            {
                ...args,
                caCertificate: undefined,
                serverCertificate: undefined,
                expiresAt: undefined,
                secrets: undefined,
            },
            pulumi.mergeOptions(opts, { additionalSecretOutputs: ["secrets"] }),
            "gateway",
            "Credentials",
        );
    }
}
