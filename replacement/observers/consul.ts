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
    async ask(path: string, method: "GET" | "PUT" | "DELETE" = "GET", body?: string): Promise<Response> {
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
                });
                if (answer.status < 500) {
                    this.preferred = at;
                    return answer;
                }
                problems.push(`${new URL(address).host}: ${answer.status} ${answer.body.trim().slice(0, 100)}`);
            } catch (error) {
                problems.push((error as Error).message);
            }
        }
        throw new Error(`Consul: ${problems.join("; ")}`);
    }

    /** As {@link ask}, and parses the JSON answer. @throws Error also for a status that is not 200. */
    async get<T>(path: string): Promise<T> {
        return parse<T>(path, await this.ask(path));
    }

    /** A key of the KV store and its version; undefined when there is none. */
    async getKey(key: string): Promise<{ value: string; index: number } | undefined> {
        const path = `/v1/kv/${key}`;
        const answer = await this.ask(path);
        if (answer.status === 404) return undefined;
        const [entry] = parse<{ Value: string | null; ModifyIndex: number }[]>(path, answer);
        if (!entry) return undefined;
        return { value: Buffer.from(entry.Value ?? "", "base64").toString("utf8"), index: entry.ModifyIndex };
    }

    /** Writes a key, whatever it holds. */
    async putKey(key: string, value: string): Promise<void> {
        const path = `/v1/kv/${key}`;
        parse(path, await this.ask(path, "PUT", value));
    }

    /**
     * Writes a key if its version is `index` (0: there is none), as a transaction because that tells the new version.
     *
     * @returns the new version, or undefined when the key had another.
     */
    async swapKey(key: string, value: string, index: number): Promise<number | undefined> {
        const path = "/v1/txn";
        const operation = { KV: { Verb: "cas", Key: key, Value: Buffer.from(value).toString("base64"), Index: index } };
        const answer = await this.ask(path, "PUT", JSON.stringify([operation]));
        if (answer.status === 409) return undefined;
        const { Results } = parse<{ Results: { KV: { ModifyIndex: number } }[] }>(path, answer);
        const written = Results[0]?.KV.ModifyIndex;
        if (written === undefined) throw new Error(`Consul: ${path}: the answer has no result`);
        return written;
    }

    /** Removes a key, if there is one. */
    async deleteKey(key: string): Promise<void> {
        parse(`/v1/kv/${key}`, await this.ask(`/v1/kv/${key}`, "DELETE"));
    }
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
