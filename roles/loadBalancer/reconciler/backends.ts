/** The list of backends that should get calls: `[{ "id": "gw-0", "address": "10.0.0.4", "port": 9190 }, …]`. */
import { isIP, isIPv4, SocketAddress } from "node:net";
import { endpoint } from "../../haproxy";

/** A server that should get calls. */
export interface Backend {
    /** Its name, for people. A server is known by its address and port: a replaced machine may have another name. */
    readonly id: string;
    /** Numeric, IPv4 or IPv6. */
    readonly address: string;
    readonly port: number;
}

/** A list that is not one; the message says where and why. */
export class BackendListError extends Error {
    override readonly name = "BackendListError";
}

/** Addresses that mean "any": HAProxy would connect to wherever the client meant to. */
const ANY = new Set(["0.0.0.0", "::"]);

/** Letters, digits and `. _ : / @ -`: what service ids consist of, and nothing that could break a log line. */
const ID = /^[\w.:/@-]{1,256}$/;

/** A numeric address as HAProxy writes it. */
function canonical(address: string): string {
    return isIPv4(address) ? address : new SocketAddress({ address, family: "ipv6" }).address;
}

/** What a backend is known by: `address:port`. */
export function backendKey({ address, port }: Pick<Backend, "address" | "port">): string {
    return endpoint(address, port);
}

function parseBackend(value: unknown, index: number): Backend {
    const fail = (why: string) => {
        throw new BackendListError(`entry ${index}: ${why}`);
    };
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fail("not an object");
    const { id, address, port, ...rest } = value as Record<string, unknown>;
    if (typeof id !== "string" || !ID.test(id)) return fail(`"id" is ${JSON.stringify(id)}`);
    if (typeof address !== "string" || isIP(address) === 0 || address.includes("%")) {
        return fail(`"address" is ${JSON.stringify(address)}, not a numeric address`);
    }
    if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535) {
        return fail(`"port" is ${JSON.stringify(port)}, not from 1 to 65535`);
    }
    if (Object.keys(rest).length > 0) return fail(`unknown field "${Object.keys(rest)[0]}"`);
    const backend = { id, address: canonical(address), port };
    return ANY.has(backend.address) ? fail(`"address" is ${address}, which is no server's`) : backend;
}

/**
 * Reads a backend list, strictly. Of several entries with the same address and port, which are one server, the first
 * is kept.
 *
 * @throws BackendListError when any of it is not as it should be: then none of it is used.
 */
export function parseBackends(text: string): Backend[] {
    let value: unknown;
    try {
        value = JSON.parse(text);
    } catch (error) {
        throw new BackendListError(`not JSON: ${(error as Error).message}`);
    }
    if (!Array.isArray(value)) throw new BackendListError("not a list");
    const backends = new Map<string, Backend>();
    for (const [index, entry] of value.entries()) {
        const backend = parseBackend(entry, index);
        if (!backends.has(backendKey(backend))) backends.set(backendKey(backend), backend);
    }
    return [...backends.values()];
}

/**
 * Decides which list to follow. From some backends it never goes to none: an answer that ACLs have filtered, and
 * sometimes one during an election, is an empty list; servers that are really gone fail HAProxy's checks anyway.
 */
export function choose(
    found: readonly Backend[] | undefined,
    lastGood: readonly Backend[],
): { readonly backends: readonly Backend[]; readonly refused: boolean } {
    if (found === undefined) return { backends: lastGood, refused: false };
    if (found.length === 0 && lastGood.length > 0) return { backends: lastGood, refused: true };
    return { backends: found, refused: false };
}
