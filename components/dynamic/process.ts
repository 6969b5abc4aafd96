/**
 * The process of Pulumi's dynamic provider on a machine that has no checkout of this project, as one file: the engine
 * finds it on PATH as `pulumi-resource-pulumi-nodejs`. It holds the modules that resources on OpenStack point to.
 */
import { moduleLoader } from "./moduleProvider";
import { moduleFinder } from "./providerModules";

Object.assign(globalThis, {
    [moduleLoader]: moduleFinder({
        credentials: () => require("../credentials/credentialsProvider"),
        "openstack-readiness": () => require("../openstack/readinessProvider"),
    }),
});

// It listens as soon as it is loaded.
require("@pulumi/pulumi/cmd/dynamic-provider");
