import type * as pulumi from "@pulumi/pulumi";

/**
 * A dynamic provider whose functions are those of a module of this project, imported when they are called.
 *
 * Pulumi serialises a dynamic provider, with all it captures, into the state of each of its resources. This one
 * captures the module's path only: the state stays small, and holds no copy of the code that could go stale.
 *
 * @param module path of the module from the project's folder, which is the provider's working directory.
 */
export function moduleProvider(module: string): pulumi.dynamic.ResourceProvider {
    return {
        check: async (olds, news) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).check?.(olds, news) ?? {
                inputs: news,
            },
        diff: async (id, olds, news) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).diff(id, olds, news),
        create: async (inputs) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).create(inputs),
        read: async (id, props) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).read(id, props),
        update: async (id, olds, news) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).update(id, olds, news),
        delete: async (id, props) =>
            require("tsx/cjs/api").require(module, `${process.cwd()}/package.json`).delete(id, props),
    };
}
