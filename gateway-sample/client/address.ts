/** The addresses of a service, and which of them to try next. */

import { isIP } from "node:net";

/** Where a server listens. */
export interface Address {
    readonly host: string;
    readonly port: number;
    /** As it was given: `host:port`. */
    readonly text: string;
}

/**
 * Reads `host:port`; an IPv6 address is written in brackets, `[::1]:9190`.
 *
 * @throws Error saying what is wrong with it
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

/** A failing address is avoided for this long at first, twice as long after each further failure, in milliseconds. */
const EJECT_MS = { first: 100, most: 5000 };

/** An address whose server ended a connection by itself is not preferred for this long, in milliseconds. */
const LEAVING_MS = 1000;

interface Health {
    failures: number;
    ejectedUntil: number;
    leavingUntil: number;
}

/** Chooses addresses by how they did so far. Times are of `performance.now()`. */
export class AddressBook {
    readonly #health: Map<Address, Health>;
    readonly #addresses: readonly Address[];
    #turn: number;

    /** @param addresses at least one; calls go round them, from a random one on, so that many clients spread */
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
     * The address for the next try: one that works rather than one that failed lately, one that this call has not
     * tried rather than one that it has, one that stays rather than one that is leaving.
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
        // An ejected address gets another chance when its time is up: from one call, not from all at once.
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

    /** The server at this address ended a connection that was not in use. */
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
