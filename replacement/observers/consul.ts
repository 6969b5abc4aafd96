/** Consul as an observer, and the little of its HTTP API that the loop needs. */
import { readFileSync } from "node:fs";
import type { ConsulState } from "../observation";
import { type Response, request } from "./http";

/** How Consul is reached. */
export interface ConsulOptions {
    /** Base URLs of several servers, such as `https://10.0.0.11:8501`; any that answers will do. */
    readonly addresses: readonly string[];
    /** File with the certificate authority, PEM. */
    readonly caFile?: string | undefined;
    /** Name that the servers' certificates bear, where it is not their address. */
    readonly serverName?: string | undefined;
    /** File with the token. It is read for each request, so that it may be rotated. */
    readonly tokenFile?: string | undefined;
    /** Deadline of one server's answer. */
    readonly timeoutSeconds: number;
}

/** Consul's HTTP API over several servers. */
export class ConsulHttp {
    /** The server that answered last is asked first. */
    private preferred = 0;

    constructor(private readonly options: ConsulOptions) {
        if (options.addresses.length === 0) throw new Error("no address of a Consul server is given");
    }

    /** @throws Error when no server gives an answer below 500; other statuses are for the caller. */
    async ask(
        path: string,
        method: "GET" | "PUT" | "DELETE" = "GET",
        body?: string,
        signal?: AbortSignal,
    ): Promise<Response> {
        const { addresses, caFile, tokenFile, serverName, timeoutSeconds } = this.options;
        const token = tokenFile === undefined ? undefined : readFileSync(tokenFile, "utf8").trim();
        const problems: string[] = [];
        for (let step = 0; step < addresses.length; step++) {
            const at = (this.preferred + step) % addresses.length;
            const address = addresses[at] ?? "";
            try {
                const answer = await request({
                    url: `${address.replace(/\/$/, "")}${path}`,
                    method,
                    timeoutSeconds,
                    ...(token === undefined ? {} : { headers: { "X-Consul-Token": token } }),
                    ...(body === undefined ? {} : { body }),
                    ...(caFile === undefined ? {} : { ca: readFileSync(caFile, "utf8") }),
                    ...(serverName === undefined ? {} : { serverName }),
                    ...(signal === undefined ? {} : { signal }),
                });
                if (answer.status < 500) {
                    this.preferred = at;
                    return answer;
                }
                problems.push(`${new URL(address).host}: ${answer.status} ${answer.body.trim().slice(0, 100)}`);
            } catch (error) {
                problems.push((error as Error).message);
                if (signal?.aborted) break;
            }
        }
        throw new Error(`Consul: ${problems.join("; ")}`);
    }

    /** As {@link ask}, and parses the JSON answer. @throws Error also for a status that is not 200. */
    async get<T>(path: string): Promise<T> {
        return parse<T>(path, await this.ask(path));
    }

    /** A key of the KV store and its version; undefined when there is none. */
    async getKey(key: string): Promise<ConsulKey | undefined> {
        const path = `/v1/kv/${key}`;
        const answer = await this.ask(path);
        if (answer.status === 404) return undefined;
        const [entry] = parse<RawKey[]>(path, answer);
        return entry && toKey(entry);
    }

    /** All keys that begin with `prefix`; none is no error. */
    async getKeys(prefix: string): Promise<(ConsulKey & { readonly key: string })[]> {
        const path = `/v1/kv/${prefix}?recurse=true`;
        const answer = await this.ask(path);
        if (answer.status === 404) return [];
        return parse<RawKey[]>(path, answer).map((entry) => ({ ...toKey(entry), key: entry.Key }));
    }

    /**
     * Carries out operations all together or not at all.
     *
     * @returns what each has written; or, when one of them did not apply, which one (0 is the first).
     */
    async transact(operations: readonly KvOperation[]): Promise<TransactionAnswer> {
        const path = "/v1/txn";
        const answer = await this.ask(path, "PUT", JSON.stringify(operations));
        if (answer.status === 409) {
            const { Errors } = JSON.parse(answer.body) as { Errors: { OpIndex?: number; What: string }[] };
            return { failed: { operation: Errors[0]?.OpIndex ?? 0, what: Errors[0]?.What ?? "" } };
        }
        const { Results } = parse<{ Results: { KV: RawKey }[] }>(path, answer);
        return { results: Results.map(({ KV }) => KV) };
    }

    /** Writes a key, whatever it holds. */
    async putKey(key: string, value: string): Promise<void> {
        const path = `/v1/kv/${key}`;
        parse(path, await this.ask(path, "PUT", value));
    }

    /** Removes a key, if there is one. */
    async deleteKey(key: string): Promise<void> {
        parse(`/v1/kv/${key}`, await this.ask(`/v1/kv/${key}`, "DELETE"));
    }
}

/** A key of the KV store. */
export interface ConsulKey {
    readonly value: string;
    /** Its version. */
    readonly index: number;
    /** How many sessions have had it as their lock. */
    readonly lockIndex: number;
    /** The session that has it as its lock now. */
    readonly session?: string;
}

/** An operation of a transaction on the KV store; `Value` is in base64. */
export interface KvOperation {
    readonly KV: {
        readonly Verb: "cas" | "lock" | "check-session" | "set" | "delete-cas";
        readonly Key: string;
        readonly Value?: string;
        readonly Index?: number;
        readonly Session?: string;
    };
}

/** How a transaction ended. */
export interface TransactionAnswer {
    readonly results?: readonly RawKey[];
    readonly failed?: { readonly operation: number; readonly what: string };
}

interface RawKey {
    readonly Key: string;
    readonly Value: string | null;
    readonly ModifyIndex: number;
    readonly LockIndex: number;
    readonly Session?: string;
}

function toKey({ Value, ModifyIndex, LockIndex, Session }: RawKey): ConsulKey {
    return {
        value: Buffer.from(Value ?? "", "base64").toString("utf8"),
        index: ModifyIndex,
        lockIndex: LockIndex,
        ...(Session ? { session: Session } : {}),
    };
}

function parse<T>(path: string, answer: Response): T {
    if (answer.status !== 200) throw new Error(`Consul: ${path}: ${answer.status} ${answer.body.trim().slice(0, 200)}`);
    return JSON.parse(answer.body) as T;
}

/** One registered instance of the gateway. */
export interface ConsulEntry {
    readonly node: string;
    /** The service's address, or its node's where it has none. */
    readonly address: string;
    readonly state: Exclude<ConsulState, "absent" | "unknown" | "none">;
    /** `incarnation` of the service's metadata: the server that registered it, where it says so. */
    readonly incarnation?: string;
}

interface HealthEntry {
    readonly Node: { readonly Node: string; readonly Address: string };
    readonly Service: { readonly Address: string; readonly Meta?: Record<string, string> | null };
    readonly Checks: readonly { readonly CheckID: string; readonly Status: string }[];
}

/**
 * All instances of a service, healthy or not.
 *
 * @throws Error when there is no leader, when no server answers, and when the answer was cut by access rules: an empty
 *         answer would look as if the whole pool was lost.
 */
export async function consulHealth(consul: ConsulHttp, service: string): Promise<ConsulEntry[]> {
    const leader = await consul.get<string>("/v1/status/leader");
    if (leader === "") throw new Error("Consul has no leader");
    const path = `/v1/health/service/${encodeURIComponent(service)}`;
    const answer = await consul.ask(path);
    const entries = parse<HealthEntry[]>(path, answer);
    if (answer.headers["x-consul-knownleader"] === "false") throw new Error("Consul has no leader");
    if (answer.headers["x-consul-results-filtered-by-acls"] === "true") {
        throw new Error(`Consul's token may not see all of "${service}"`);
    }
    return entries.map(({ Node, Service, Checks }) => {
        const incarnation = Service.Meta?.incarnation;
        return {
            node: Node.Node,
            address: Service.Address || Node.Address,
            state: worst(Checks),
            ...(incarnation === undefined ? {} : { incarnation }),
        };
    });
}

function worst(checks: HealthEntry["Checks"]): ConsulEntry["state"] {
    if (
        checks.some(
            ({ CheckID }) => CheckID.startsWith("_node_maintenance") || CheckID.startsWith("_service_maintenance"),
        )
    ) {
        return "maintenance";
    }
    if (checks.some(({ Status }) => Status === "critical")) return "critical";
    return checks.every(({ Status }) => Status === "passing") ? "passing" : "warning";
}

/**
 * The state of one slot among the registered instances. An instance that says it belongs to another server of the slot
 * does not count; of several the best does.
 */
export function consulState(entries: readonly ConsulEntry[], slot: { name: string; serverId: string }): ConsulState {
    const states = entries
        .filter(({ node, incarnation }) => node === slot.name && (incarnation ?? slot.serverId) === slot.serverId)
        .map(({ state }) => state);
    const order = ["passing", "maintenance", "warning", "critical"] as const;
    return order.find((state) => states.includes(state)) ?? "absent";
}
