/** What OpenStack would answer, as far as the program asks: for the mocks of `mocks.ts`. */

/** The address that a floating IP gets. */
export const FLOATING_IP = "198.51.100.7";

/** Outputs of a resource that are not its inputs. */
export function openstackOutputs(type: string, inputs: Record<string, unknown>): Record<string, unknown> {
    switch (type) {
        case "openstack:networking/floatingIp:FloatingIp":
            return { ...inputs, address: FLOATING_IP };
        case "openstack:loadbalancer/loadBalancer:LoadBalancer":
            return { ...inputs, vipPortId: "the port of the load balancer" };
        default:
            return inputs;
    }
}

/** A given network. */
export const GIVEN = {
    networkId: "00000000-0000-4000-8000-000000000001",
    subnetId: "00000000-0000-4000-8000-000000000002",
    cidr: "172.16.8.0/22",
} as const;

/** The answer to a question of the program. */
export function openstackAnswer(token: string, inputs: Record<string, unknown>): Record<string, unknown> {
    switch (token) {
        case "openstack:networking/getNetwork:getNetwork":
            return { id: `the id of ${inputs.name}` };
        case "openstack:networking/getSubnet:getSubnet":
            return inputs.subnetId === GIVEN.subnetId ? { networkId: GIVEN.networkId, cidr: GIVEN.cidr } : {};
        default:
            return {};
    }
}
