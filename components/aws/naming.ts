import * as pulumi from "@pulumi/pulumi";

/** What the names of a stack's resources begin with, where AWS wants a name that is known beforehand. */
export function prefix(): string {
    return `${pulumi.getProject()}-${pulumi.getStack()}`;
}

/** The tag by which Consul's agents find the servers, and its value: auto-join must never find those of another stack. */
export const autoJoinTag = { key: "gateway-consul", value: prefix } as const;

/** Tags of a resource besides those that the provider gives to all: the name that the console shows. */
export function tagsOf(what: string): Record<string, string> {
    return { Name: `${prefix()}-${what}` };
}

/**
 * Tags of everything. The provider adds them by itself, except where AWS wants them given apart: to what an AutoScaling
 * group launches.
 */
export function commonTags(): Record<string, string> {
    return { project: pulumi.getProject(), stack: pulumi.getStack(), "managed-by": "pulumi" };
}
