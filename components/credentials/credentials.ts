import * as pulumi from "@pulumi/pulumi";
import { ModuleResource } from "../dynamic/moduleProvider";
import type { RegistryKind } from "../machineRoles";

/** Arguments of {@link Credentials}. */
export interface CredentialsArgs {
    readonly datacenter: string;
    /** Addresses of the Consul servers, which their certificate names. */
    readonly servers: pulumi.Input<pulumi.Input<string>[]>;
    /** The registry. Default `consul`. It cannot be changed while anything runs. */
    readonly registry?: RegistryKind;
    /** The name under which gateways are registered. It cannot be changed while anything runs. Default: not known. */
    readonly gatewayService?: string;
    /**
     * Keys of a new deployment, by the secret's name. Default: made with the other secrets. They are taken once: a
     * deployment that has keys keeps them, because its machines could not talk to each other during a change.
     */
    readonly keys?: pulumi.Input<Record<string, string>>;
}

/** The certificates, tokens and keys of a deployment. They live in the stack's state, as secrets. */
export class Credentials extends ModuleResource {
    /** The authority's certificate, PEM. */
    declare readonly caCertificate: pulumi.Output<string>;
    /** The Consul servers' certificate, PEM. */
    declare readonly serverCertificate: pulumi.Output<string>;
    /** Every secret by name. Secret. */
    declare readonly secrets: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: CredentialsArgs, opts: pulumi.CustomResourceOptions) {
        super(
            "credentials",
            "Credentials",
            name,
            {
                ...args,
                caCertificate: undefined,
                serverCertificate: undefined,
                expiresAt: undefined,
                secrets: undefined,
            },
            pulumi.mergeOptions(opts, { additionalSecretOutputs: ["secrets"] }),
        );
    }
}
