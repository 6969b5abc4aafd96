import * as pulumi from "@pulumi/pulumi";

/** Name of the global function that gives a module by its path, in a process that holds them all; see `process.ts`. */
export const moduleLoader = "gatewayModule";

/**
 * The text of a dynamic provider whose functions are those of a module of this project, imported when they are called.
 *
 * @param module path of the module from the project's folder, which is the provider's working directory.
 */
export function providerText(module: string): string {
    const load = "load()";
    return [
        `const fromSources = (path) => require("tsx/cjs/api").require(path, process.cwd() + "/package.json");`,
        `const load = () => (globalThis.${moduleLoader} ?? fromSources)(${JSON.stringify(module)});`,
        "exports.handler = () => ({",
        `    check: async (olds, news) => ${load}.check?.(olds, news) ?? { inputs: news },`,
        ...["diff", "create", "read", "update", "delete"].map(
            (name) => `    ${name}: async (...given) => ${load}.${name}(...given),`,
        ),
        "});",
        "",
    ].join("\n");
}

/**
 * A resource whose provider is a module of this project: a dynamic resource, as Pulumi's own `dynamic.Resource` makes it.
 *
 * That one serialises the provider, with all it captures, into the state of each of its resources, and needs a compiler
 * for it. This one's text holds the module's path only: the state stays small, holds no copy of the code that could go
 * stale, and is the same wherever the program runs.
 */
export class ModuleResource extends pulumi.CustomResource {
    /**
     * @param module path of the module from the project's folder.
     * @param type the resource's type is `pulumi-nodejs:dynamic/gateway:TYPE`.
     */
    constructor(
        module: string,
        type: string,
        name: string,
        properties: pulumi.Inputs,
        opts: pulumi.CustomResourceOptions,
    ) {
        super(`pulumi-nodejs:dynamic/gateway:${type}`, name, { ...properties, __provider: providerText(module) }, opts);
    }
}
