/** The addresses of a service, and the choice of the next one to try. */

import { isIP } from "node:net";

/** Where a server listens. */
export interface Address {
    readonly host: string;
    readonly port: number;
    /** The original text: `host:port`. */
    readonly text: string;
}

/**
 * Parses `host:port`. An IPv6 address needs brackets: `[::1]:9190`.
 *
 * @throws Error with an explanation when the text is invalid
 */
export function parseAddress(text: string): Address {
    const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    if (host === undefined || port < 1 || port > 65_535 || (match?.[1] !== undefined && isIP(host) !== 6)) {
        throw new Error(`"${text}" is not an address: write host:port, for instance 127.0.0.1:9190 or [::1]:9190`);
    }
    return { host, port, text };
}

/** How long to avoid a failing address, milliseconds: doubled after each further failure. */
const EJECT_MS = { first: 100, most: 5000 };

/** How long not to prefer an address whose server ended an idle connection, milliseconds. */
const LEAVING_MS = 1000;

interface Health {
    failures: number;
    ejectedUntil: number;
    leavingUntil: number;
}

/** Chooses addresses by their results so far. Times are on the clock of `performance.now()`. */
export class AddressBook {
    readonly #health: Map<Address, Health>;
    readonly #addresses: readonly Address[];
    #turn: number;

    /** @param addresses at least one; calls use them in turn, from a random one on, to spread many clients */
    constructor(
        addresses: readonly Address[],
        private readonly random: () => number = Math.random,
    ) {
        this.#addresses = addresses;
        this.#health = new Map(
            addresses.map((address) => [address, { failures: 0, ejectedUntil: 0, leavingUntil: 0 }]),
        );
        this.#turn = Math.floor(random() * addresses.length);
    }

    /**
     * The address for the next try. It prefers, in this order, an address that works to one that failed lately, one that
     * this call has not tried, and one that is not leaving.
     */
    pick(tried: ReadonlySet<Address>): Address {
        const now = performance.now();
        this.#turn = (this.#turn + 1) % this.#addresses.length;
        let best: { address: Address; rank: number } | undefined;
        for (let step = 0; step < this.#addresses.length; step++) {
            const address = this.#addresses[(this.#turn + step) % this.#addresses.length] as Address;
            const health = this.#of(address);
            const rank =
                (now < health.ejectedUntil ? 4 : 0) +
                (tried.has(address) ? 2 : 0) +
                (now < health.leavingUntil ? 1 : 0);
            if (best === undefined || rank < best.rank) best = { address, rank };
        }
        const { address } = best as { address: Address };
        const health = this.#of(address);
        // When an ejected address is due again, only one call tries it.
        if (health.failures > 0) health.ejectedUntil = Math.max(health.ejectedUntil, now + this.#ejection(health));
        return address;
    }

    /** A try at this address succeeded. */
    succeeded(address: Address): void {
        const health = this.#of(address);
        health.failures = 0;
        health.ejectedUntil = 0;
    }

    /** A try at this address failed. */
    failed(address: Address): void {
        const health = this.#of(address);
        health.failures += 1;
        health.ejectedUntil = performance.now() + this.#ejection(health);
    }

    /** The server at this address ended an idle connection, or said that it is leaving. */
    leaving(address: Address): void {
        this.#of(address).leavingUntil = performance.now() + LEAVING_MS;
    }

    #of(address: Address): Health {
        return this.#health.get(address) as Health;
    }

    #ejection(health: Health): number {
        const longest = Math.min(EJECT_MS.most, EJECT_MS.first * 2 ** Math.min(health.failures - 1, 16));
        return longest * (0.75 + 0.5 * this.random());
    }
}
