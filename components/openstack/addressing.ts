/** The fixed address of each machine, so that the others find its replacement. Pure. */
import { formatAddress, parseNetwork } from "../../lib/ipv4";

/** What has a fixed address. */
export type Occupant = "vip" | "discovery" | "balancer" | "replacer" | "octavia" | "gateway";

/** Where each kind's addresses begin, counted from our first one. Gateways are last, because there may be many. */
const OFFSETS: Readonly<Record<Occupant, number>> = {
    vip: 0,
    discovery: 1,
    balancer: 11,
    replacer: 21,
    octavia: 39,
    gateway: 40,
};

/**
 * The `index`th address of a kind.
 *
 * @param cidr the subnet.
 * @param firstHost the first address that may be used, counted from the subnet's beginning.
 * @throws RangeError when the subnet has no such address.
 */
export function addressOf(cidr: string, firstHost: number, kind: Occupant, index = 0): string {
    const { base, prefix } = parseNetwork(cidr);
    const host = firstHost + OFFSETS[kind] + index;
    // The last address of a network is its broadcast address.
    if (host >= 2 ** (32 - prefix) - 1) throw new RangeError(`${cidr} has no address ${host} for a machine`);
    return formatAddress(base + host);
}

/** The addresses that Neutron may assign: all between the router's, which is the first, and ours. */
export function neutronsOwn(cidr: string, firstHost: number): { start: string; end: string } {
    const { base } = parseNetwork(cidr);
    return { start: formatAddress(base + 2), end: formatAddress(base + firstHost - 1) };
}
