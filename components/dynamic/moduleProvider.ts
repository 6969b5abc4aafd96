import * as pulumi from "@pulumi/pulumi";
import type { ProviderKey } from "./providerModules";

/** Name of the global function that gives a module by its key, in a process that holds them; see `process.ts`. */
export const moduleLoader = "gatewayModule";

/**
 * The text of a dynamic provider whose functions are those of a module of this project, loaded when they are called.
 *
 * The state keeps the text, so it holds no path of this computer. The engine runs it in the folder of the program that is
 * deployed, which may be another package than this one: there Node finds this package by its name.
 */
export function providerText(key: ProviderKey): string {
    const load = "load()";
    return [
        `const packaged = (key) => require("node:module").createRequire(process.cwd() + "/package.json")("gateway/dynamic")(key);`,
        `const load = () => (globalThis.${moduleLoader} ?? packaged)(${JSON.stringify(key)});`,
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
 * A resource whose provider is a module of this project, like Pulumi's own `dynamic.Resource`.
 *
 * Pulumi's own serialises the provider, with everything that it captures, into the state of each resource, and needs a
 * compiler for that. The text of this one holds only a key. The state stays small, holds no copy of code that could go
 * stale, and is the same wherever the program runs.
 */
export class ModuleResource extends pulumi.CustomResource {
    /**
     * @param key the module; see `providerModules.ts`.
     * @param type the resource's type is `pulumi-nodejs:dynamic/gateway:TYPE`.
     */
    constructor(
        key: ProviderKey,
        type: string,
        name: string,
        properties: pulumi.Inputs,
        opts: pulumi.CustomResourceOptions,
    ) {
        super(`pulumi-nodejs:dynamic/gateway:${type}`, name, { ...properties, __provider: providerText(key) }, opts);
    }
}
