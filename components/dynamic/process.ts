/**
 * The process of Pulumi's dynamic provider on a machine that has no checkout of this project, as one file: the engine
 * finds it on PATH as `pulumi-resource-pulumi-nodejs`. It holds the modules that a cloud's resources point to.
 */
import { moduleLoader } from "./moduleProvider";

/** By the paths that resources name, from the project's folder. */
const modules: Readonly<Record<string, () => unknown>> = {
    "./components/credentials/credentialsProvider.ts": () => require("../credentials/credentialsProvider"),
    "./components/openstack/gateProvider.ts": () => require("../openstack/gateProvider"),
};

Object.assign(globalThis, {
    [moduleLoader](path: string): unknown {
        const load = modules[path];
        if (!load) throw new Error(`resources of ${path} cannot be changed by the replacement loop`);
        return load();
    },
});

// It listens as soon as it is loaded.
require("@pulumi/pulumi/cmd/dynamic-provider");
