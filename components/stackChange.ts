import type { RegistryKind } from "./machineRoles";

const STACKS: Readonly<Record<RegistryKind, string>> = {
    consul: "consul-template-haproxy or fabio",
    serf: "serf-haproxy",
};

const INSTEAD =
    "nothing was changed. Deploy a second environment (a stack of its own) with the new value, move the clients to it, " +
    "then destroy this one; or, where an outage does no harm, destroy this one first";

/**
 * Why a running environment cannot change to a load balancing stack with another registry, and what to do instead;
 * undefined if it can.
 *
 * Between stacks with the same registry the balancers change one by one, and then the gateways: each balancer finds all
 * gateways as soon as it is up. Between registries a changed balancer would find no gateway until the gateways change
 * too, and the unchanged balancers would then lose them.
 */
export function stackChangeProblem(from: RegistryKind, to: RegistryKind): string | undefined {
    if (from === to) return undefined;
    return (
        `a running environment cannot change from loadBalancer.stack ${STACKS[from]} to ${STACKS[to]} without losing ` +
        `calls, because the balancers of one cannot see the gateways of the other; ${INSTEAD}`
    );
}

/**
 * Why a running environment cannot change the name under which its gateways are registered, and what to do instead; undefined if
 * it does not.
 *
 * Gateways may register themselves under one name only. The right to the new name would take that to the old one from gateways
 * that still run, and balancers would look for a name that nobody has.
 */
export function serviceChangeProblem(from: string | undefined, to: string | undefined): string | undefined {
    if (from === undefined || to === undefined || from === to) return undefined;
    return (
        `a running environment cannot change service.name from ${from} to ${to} without losing calls, because gateways ` +
        `have the right to their present name only; ${INSTEAD}`
    );
}
