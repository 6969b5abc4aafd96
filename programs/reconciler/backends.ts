/** The list of backends that get calls: `[{ "id": "gw-0", "address": "10.0.0.4", "port": 9190 }, …]`. */
import { BlockList, isIP, isIPv4, SocketAddress } from "node:net";
import { endpoint } from "../../lib/endpoint";

/** A server that gets calls. */
export interface Backend {
    /** Its name, for people. Address and port identify a server: a replaced machine may have another name. */
    readonly id: string;
    /** Numeric, IPv4 or IPv6. */
    readonly address: string;
    readonly port: number;
}

/** An invalid list. The message says where and why. */
export class BackendListError extends Error {
    override readonly name = "BackendListError";
}

/** Addresses that mean "any": HAProxy would connect to wherever the client meant to. */
const ANY = new Set(["0.0.0.0", "::"]);

/** Letters, digits and `. _ : / @ -`: the characters of service ids, none of which can break a log line. */
const ID = /^[\w.:/@-]{1,256}$/;

/** A numeric address as HAProxy writes it. */
function canonical(address: string): string {
    return isIPv4(address) ? address : new SocketAddress({ address, family: "ipv6" }).address;
}

/** The identity of a backend: `address:port`. */
export function backendKey({ address, port }: Pick<Backend, "address" | "port">): string {
    return endpoint(address, port);
}

/** Returns whether a numeric address is in one of the networks (CIDR). @throws Error when one is no network. */
function isInside(networks: readonly string[], address: string): boolean {
    const list = new BlockList();
    for (const network of networks) {
        const [base = "", prefix] = network.split("/");
        list.addSubnet(base, Number(prefix), isIPv4(base) ? "ipv4" : "ipv6");
    }
    return list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

function parseBackend(value: unknown, index: number, networks: readonly string[] | undefined): Backend {
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
    if (ANY.has(backend.address)) return fail(`"address" is ${address}, which is no server's`);
    if (networks && !isInside(networks, backend.address)) {
        return fail(`${id} has the address ${address}, which is not in the gateways' networks ${networks.join(", ")}`);
    }
    return backend;
}

/** What a backend list holds. */
export interface BackendList {
    readonly backends: readonly Backend[];
    /** For each entry that is not used, where it is and why. */
    readonly refused: readonly string[];
}

/**
 * Reads a backend list strictly, each entry by itself: whoever can register one bad entry must not stop the changes of all
 * others. Entries with the same address and port are one server; the first is kept.
 *
 * @param networks where gateways can be, in CIDR notation; an entry that names another address is refused. Default: anywhere.
 * @throws BackendListError when the text is no list: then none is used.
 */
export function parseBackends(text: string, networks?: readonly string[]): BackendList {
    let value: unknown;
    try {
        value = JSON.parse(text);
    } catch (error) {
        throw new BackendListError(`not JSON: ${(error as Error).message}`);
    }
    if (!Array.isArray(value)) throw new BackendListError("not a list");
    const backends = new Map<string, Backend>();
    const refused: string[] = [];
    for (const [index, entry] of value.entries()) {
        try {
            const backend = parseBackend(entry, index, networks);
            if (!backends.has(backendKey(backend))) backends.set(backendKey(backend), backend);
        } catch (error) {
            if (!(error instanceof BackendListError)) throw error;
            refused.push(error.message);
        }
    }
    return { backends: [...backends.values()], refused };
}

/**
 * Decides which list to follow, and never goes from some backends to none. A list filtered by ACLs is empty, and so,
 * sometimes, is one during an election. Servers that are really gone fail HAProxy's checks anyway.
 */
export function choose(
    found: readonly Backend[] | undefined,
    lastGood: readonly Backend[],
): { readonly backends: readonly Backend[]; readonly refused: boolean } {
    if (found === undefined) return { backends: lastGood, refused: false };
    if (found.length === 0 && lastGood.length > 0) return { backends: lastGood, refused: true };
    return { backends: found, refused: false };
}
