import type { AliasSpec, Registration } from "./mocks";

/** The names by which the engine finds a resource in the state: `TYPES::NAME`, its own and those of its aliases. */
export function identities(resource: Registration, all: readonly Registration[]): string[] {
    const ownParent = all.find(({ name, typeChain }) => {
        const above = resource.typeChain.slice(0, -resource.type.length - 1);
        return name === resource.parent && typeChain === above;
    });
    const specs: AliasSpec[] = [{}, ...resource.aliases];
    return specs.flatMap(({ name = resource.name, type = resource.type, parent }) => {
        const above = parent === undefined ? ownParent : parent === null ? undefined : registered(parent, all);
        if (!above) return [`${type}::${name}`];
        // A parent's aliases are its children's too, and where a name begins with the parent's, so does its alias.
        return identities(above, all).map((each) => {
            const [chain, parentName = ""] = each.split("::");
            const own = name.startsWith(above.name) ? parentName + name.slice(above.name.length) : name;
            return `${chain}$${type}::${own}`;
        });
    });
}

function registered(
    parent: { typeChain: string; name: string },
    all: readonly Registration[],
): Registration | undefined {
    return all.find(({ typeChain, name }) => typeChain === parent.typeChain && name === parent.name);
}
