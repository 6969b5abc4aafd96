/** The part of Consul's HTTP API that this project uses, and a service's health. */
import { readFileSync } from "node:fs";
import { type Response, request } from "../lib/http";

/** How to reach Consul. */
export interface ConsulOptions {
    /** Base URLs of one or more servers, such as `https://10.0.0.11:8501`. The first that answers is used. */
    readonly addresses: readonly string[];
    /** File with the certificate authority, PEM. */
    readonly caFile?: string | undefined;
    /** Name in the servers' certificates, where it is not their address. */
    readonly serverName?: string | undefined;
    /** File with the token. It is read for each request, so the token can be rotated. */
    readonly tokenFile?: string | undefined;
    /** Deadline of each server's answer. */
    readonly timeoutSeconds: number;
}

/** Consul's HTTP API over several servers. */
export class ConsulHttp {
    /** The server that answered last is asked first. */
    private preferred = 0;

    constructor(private readonly options: ConsulOptions) {
        if (options.addresses.length === 0) throw new Error("there is no address of a Consul server");
    }

    /** Sends a request. @throws Error when every server fails or answers 500 and above. The caller checks other statuses. */
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
        return parseAnswer<T>(path, await this.ask(path));
    }

    /** A key of the KV store and its version; undefined when there is none. */
    async getKey(key: string): Promise<ConsulKey | undefined> {
        const path = `/v1/kv/${key}`;
        const answer = await this.ask(path);
        if (answer.status === 404) return undefined;
        const [entry] = parseAnswer<RawKey[]>(path, answer);
        return entry && toKey(entry);
    }

    /** All keys that begin with `prefix`; may be empty. */
    async getKeys(prefix: string): Promise<(ConsulKey & { readonly key: string })[]> {
        const path = `/v1/kv/${prefix}?recurse=true`;
        const answer = await this.ask(path);
        if (answer.status === 404) return [];
        return parseAnswer<RawKey[]>(path, answer).map((entry) => ({ ...toKey(entry), key: entry.Key }));
    }

    /**
     * Carries out all operations, or none.
     *
     * @returns what each has written or, when one does not apply, its index.
     */
    async transact(operations: readonly KvOperation[]): Promise<TransactionAnswer> {
        const path = "/v1/txn";
        const answer = await this.ask(path, "PUT", JSON.stringify(operations));
        if (answer.status === 409) {
            const { Errors } = JSON.parse(answer.body) as { Errors: { OpIndex?: number; What: string }[] };
            return { failed: { operation: Errors[0]?.OpIndex ?? 0, what: Errors[0]?.What ?? "" } };
        }
        const { Results } = parseAnswer<{ Results: { KV: RawKey }[] }>(path, answer);
        return { results: Results.map(({ KV }) => KV) };
    }

    /** Writes a key unconditionally. */
    async putKey(key: string, value: string): Promise<void> {
        const path = `/v1/kv/${key}`;
        parseAnswer(path, await this.ask(path, "PUT", value));
    }

    /** Removes a key, if it exists. */
    async deleteKey(key: string): Promise<void> {
        parseAnswer(`/v1/kv/${key}`, await this.ask(`/v1/kv/${key}`, "DELETE"));
    }
}

/** A key of the KV store. */
export interface ConsulKey {
    readonly value: string;
    /** Its version. */
    readonly index: number;
    /** How many sessions have acquired it as their lock. */
    readonly lockIndex: number;
    /** The session that holds it as its lock now. */
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

function parseAnswer<T>(path: string, answer: Response): T {
    if (answer.status !== 200) throw new Error(`Consul: ${path}: ${answer.status} ${answer.body.trim().slice(0, 200)}`);
    return JSON.parse(answer.body) as T;
}

/** The health of a registered instance: its worst check, or maintenance by an operator. */
export type InstanceHealth = "passing" | "warning" | "critical" | "maintenance";

/** One registered instance of the gateway. */
export interface ConsulEntry {
    readonly node: string;
    /** The service's address, else its node's. */
    readonly address: string;
    readonly state: InstanceHealth;
    /** `incarnation` in the service's metadata: the server that registered it. */
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
 * @throws Error when Consul has no leader, when no server answers, and when access rules have filtered the answer: an
 *         empty answer would look like the loss of the whole pool.
 */
export async function consulHealth(consul: ConsulHttp, service: string): Promise<ConsulEntry[]> {
    const leader = await consul.get<string>("/v1/status/leader");
    if (leader === "") throw new Error("Consul has no leader");
    const path = `/v1/health/service/${encodeURIComponent(service)}`;
    const answer = await consul.ask(path);
    const entries = parseAnswer<HealthEntry[]>(path, answer);
    if (answer.headers["x-consul-knownleader"] === "false") throw new Error("Consul has no leader");
    if (answer.headers["x-consul-results-filtered-by-acls"] === "true") {
        throw new Error(`Consul's token may not see all of "${service}"`);
    }
    return entries.map(({ Node, Service, Checks }) => {
        const incarnation = Service.Meta?.incarnation;
        return {
            node: Node.Node,
            address: Service.Address || Node.Address,
            state: worstState(Checks),
            ...(incarnation === undefined ? {} : { incarnation }),
        };
    });
}

function worstState(checks: HealthEntry["Checks"]): ConsulEntry["state"] {
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
