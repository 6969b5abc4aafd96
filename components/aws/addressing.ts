/** The arithmetic of subnets and of fixed addresses: pure, IPv4. */
import { formatAddress, parseNetwork } from "../../lib/ipv4";

/**
 * The `index`th subnet of a network.
 *
 * @param bits how many bits longer its prefix is.
 * @throws RangeError if there are fewer subnets.
 */
export function subnet(network: string, bits: number, index: number): string {
    const { base, prefix } = parseNetwork(network);
    const longer = prefix + bits;
    if (longer > 32 || index < 0 || index >= 2 ** bits) {
        throw new RangeError(`${network} has no subnet ${index} of ${bits} more bits`);
    }
    return `${formatAddress(base + index * 2 ** (32 - longer))}/${longer}`;
}

/**
 * The `index`th address of a network.
 *
 * @throws RangeError when AWS keeps it for itself (the first four and the last), or the network is too small.
 */
export function host(network: string, index: number): string {
    const { base, prefix } = parseNetwork(network);
    if (index < RESERVED || index >= 2 ** (32 - prefix) - 1) {
        throw new RangeError(`${network} has no address ${index} for a machine`);
    }
    return formatAddress(base + index);
}

/** The first addresses of each subnet that AWS reserves: network, router, DNS and one for future use. */
export const RESERVED = 4;

/** A sixteenth of the VPC for each subnet; with the smallest VPC, /24, that is AWS's smallest subnet, /28. */
const SUBNET_BITS = 4;

/**
 * Subnets of an own VPC: in each zone one for the gateways and one for machines with fixed addresses. They are separate
 * because AutoScaling takes any free address of its subnet, including one that a fixed machine gives up while it is
 * replaced.
 *
 * A zone's subnets stay the same if zones are added after it.
 */
export function ownSubnets(vpc: string, zones: readonly string[]): { zone: string; pool: string; fixed: string }[] {
    return zones.map((zone, index) => ({
        zone,
        pool: subnet(vpc, SUBNET_BITS, index),
        fixed: subnet(vpc, SUBNET_BITS, 2 ** (SUBNET_BITS - 1) + index),
    }));
}

/** Most machines of one kind in one subnet: 5 over 2 zones, for both Consul servers and balancers. */
const PER_KIND = 3;

/** Where a machine with a fixed address is. */
export interface Place {
    /** Index of the zone. */
    readonly zone: number;
    /** Index of the address in the zone's subnet. */
    readonly host: number;
}

/**
 * The place of the `index`th machine of a kind: one zone after the other.
 *
 * @param firstHost the first address that may be used.
 */
export function place(kind: "discovery" | "balancer", index: number, zones: number, firstHost: number): Place {
    const kinds = ["discovery", "balancer"] as const;
    return {
        zone: index % zones,
        host: firstHost + kinds.indexOf(kind) * PER_KIND + Math.floor(index / zones),
    };
}
