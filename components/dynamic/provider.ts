import * as pulumi from "@pulumi/pulumi";

/**
 * The provider of the resources that this project defines. It is explicit, as for every other package: the default one
 * would copy the whole stack configuration and change whenever that does.
 */
export class ProjectProvider extends pulumi.ProviderResource {
    constructor(name: string, opts?: pulumi.ResourceOptions) {
        super("pulumi-nodejs", name, {}, opts);
    }
}

/** The provider of this project's own resources that a component was given, or else a new one. */
export function projectProvider(
    component: pulumi.ComponentResource,
    name: string,
    opts: pulumi.ResourceOptions,
): pulumi.ProviderResource {
    return component.getProvider("pulumi-nodejs:dynamic:Resource") ?? new ProjectProvider(name, opts);
}
