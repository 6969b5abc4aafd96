import * as pulumi from "@pulumi/pulumi";
import type { Target } from "./target";

/** A component's options with the providers of its target. Providers given to the component take precedence. */
export function withProvidersOf(
    target: Pick<Target, "providers">,
    opts: pulumi.ComponentResourceOptions = {},
): pulumi.ComponentResourceOptions {
    return pulumi.mergeOptions({ providers: [...target.providers] }, opts);
}

/** @throws pulumi.ResourceError if an argument of a component is on another target. */
export function assertSameTarget(
    component: pulumi.Resource,
    target: unknown,
    given: { readonly discovery: { readonly target: unknown }; readonly balancers?: unknown },
): void {
    const parts = [given.discovery, given.balancers].filter(
        (part): part is { readonly target: unknown } => typeof part === "object" && part !== null && "target" in part,
    );
    if (parts.every((part) => part.target === target)) return;
    throw new pulumi.ResourceError("its discovery and its balancers must be on its own target", component);
}

/** An alias for a resource that was at the top of the stack in version 0.1 and belongs to a component now. */
export const onceAtTheTop: pulumi.Alias = { parent: pulumi.rootStackResource };
