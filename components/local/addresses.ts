/**
 * The loopback addresses of this computer's machines. Linux answers on all of 127.0.0.0/8, so each machine can have its
 * own, with the same ports as on a cloud.
 */
export interface LocalAddresses {
    /** All of them, in CIDR notation. */
    readonly network: string;
    readonly discovery: (index: number) => string;
    readonly balancer: (index: number) => string;
    readonly replacer: string;
    readonly gateway: (index: number) => string;
}

/** @param network a /24 inside 127.0.0.0/8, such as `127.90.0.0/24`. */
export function localAddresses(network: string): LocalAddresses {
    const prefix = network.slice(0, network.lastIndexOf("."));
    return {
        network,
        discovery: (index) => `${prefix}.${11 + index}`,
        balancer: (index) => `${prefix}.${21 + index}`,
        replacer: `${prefix}.31`,
        gateway: (index) => `${prefix}.${50 + index}`,
    };
}
