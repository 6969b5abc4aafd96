/** IPv4 networks and addresses as numbers. */

/** An IPv4 network. */
export interface Network4 {
    /** Its first address, as a number. */
    readonly base: number;
    /** Length of the prefix, 0 to 32. */
    readonly prefix: number;
}

/**
 * Parses a network such as `10.20.0.0/16`. Clears the bits after the prefix.
 *
 * @throws Error when the text is not an IPv4 network.
 */
export function parseNetwork(text: string): Network4 {
    const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
    const numbers = (match ?? []).slice(1).map(Number);
    const [prefix = 33] = numbers.slice(4);
    if (numbers.length !== 5 || numbers.slice(0, 4).some((octet) => octet > 255) || prefix > 32) {
        throw new Error(`${text} is no IPv4 network`);
    }
    const address = numbers.slice(0, 4).reduce((sum, octet) => sum * 256 + octet, 0);
    const size = 2 ** (32 - prefix);
    return { base: Math.floor(address / size) * size, prefix };
}

/** An address from its number. */
export function formatAddress(address: number): string {
    return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}
