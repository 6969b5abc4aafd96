/**
 * The modules that resources written in this project point to, by keys.
 *
 * A resource's key stays in the state of every deployment, and the engine loads the module by what the state says for as
 * long as the resource exists. So a key is never changed or removed, and neither are the paths in {@link oldPaths}.
 */

/** What a resource says in the place of its code. */
export type ProviderKey = "local-instance" | "credentials" | "aws-readiness" | "openstack-readiness";

/** How version 0.1 named the modules: by their paths, which are in the state of its deployments. */
const oldPaths: Readonly<Record<string, ProviderKey>> = {
    "./components/local/machineProvider.ts": "local-instance",
    "./components/credentials/credentialsProvider.ts": "credentials",
    "./components/aws/gateProvider.ts": "aws-readiness",
    "./components/openstack/gateProvider.ts": "openstack-readiness",
};

/**
 * Finds modules among some.
 *
 * @param modules what can be loaded here. A process that holds only a part of them names only that part.
 * @returns a function from a key, or an old path, to the module. It throws for one that is not among them.
 */
export function moduleFinder(modules: Readonly<Partial<Record<ProviderKey, () => unknown>>>) {
    return (name: string): unknown => {
        const key = oldPaths[name] ?? (name as ProviderKey);
        const load = modules[key];
        if (!load) throw new Error(`there is no provider "${name}" here for resources of this project`);
        return load();
    };
}
