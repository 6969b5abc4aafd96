import * as pulumi from "@pulumi/pulumi";

/**
 * The provider of the resources that are written in this project. An explicit one, as for every other package: the
 * default one would copy the whole stack configuration, and change whenever that does.
 */
export class ProjectProvider extends pulumi.ProviderResource {
    constructor(name: string, opts?: pulumi.ResourceOptions) {
        super("pulumi-nodejs", name, {}, opts);
    }
}
