import type { RegistryKind } from "./serviceDiscovery";

const STACKS: Readonly<Record<RegistryKind, string>> = {
    consul: "consul-template-haproxy or fabio",
    serf: "serf-haproxy",
};

/**
 * Why a running environment cannot be changed to another stack of load balancing, by what the two find gateways by, and
 * what to do instead; undefined when it can be.
 *
 * Between stacks with the same registry the balancers are changed one by one, and then the gateways: each balancer finds
 * all gateways the moment it comes up. Between registries it would find none before the gateways are changed too, and
 * those would be lost to the balancers that are not.
 */
export function stackChangeProblem(from: RegistryKind, to: RegistryKind): string | undefined {
    if (from === to) return undefined;
    return (
        `a running environment cannot change from loadBalancer.stack ${STACKS[from]} to ${STACKS[to]} without losing ` +
        "calls, because the balancers of one cannot see the gateways of the other; nothing was changed. " +
        "Deploy a second environment (a stack of its own) with the new value, move the clients to it, then destroy " +
        "this one; or, where an outage does no harm, destroy this one first"
    );
}
