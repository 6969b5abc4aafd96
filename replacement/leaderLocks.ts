/** Lock services for the leader's lease: Consul, and one in this process. */
import type { ConsulHttp } from "../clients/consul";
import { type Holder, type LeaseTimes, type Locks, leaseTimes } from "./lease";
import { defaultPrefix, lockKey } from "./store";

/**
 * The catalog's node that the sessions belong to. It has no agent: sessions of a server's own node end when that server
 * loses its network for a moment, even without a health check (hashicorp/consul#20424).
 */
export const sessionNode = "gateway-replacement";

/** Consul's session locks. The epoch is the key's LockIndex, which grows with each session that acquires the lock. */
export function consulLocks(consul: ConsulHttp, prefix = defaultPrefix, times: LeaseTimes = leaseTimes): Locks {
    const key = lockKey(prefix);
    const put = async (path: string, body?: unknown) => {
        const answer = await consul.ask(path, "PUT", body === undefined ? undefined : JSON.stringify(body));
        if (answer.status !== 200) {
            throw new Error(`Consul: ${path}: ${answer.status} ${answer.body.trim().slice(0, 200)}`);
        }
        return answer.body;
    };
    return {
        async open() {
            await put("/v1/catalog/register", {
                Node: sessionNode,
                // An address for documentation (RFC 5737), so that nobody connects to it.
                Address: "192.0.2.1",
                NodeMeta: { "external-node": "true" },
            });
            const body = {
                Name: "replacement loop",
                Node: sessionNode,
                NodeChecks: [],
                TTL: `${times.ttl}s`,
                LockDelay: `${times.lockDelay}s`,
                Behavior: "release",
            };
            return (JSON.parse(await put("/v1/session/create", body)) as { ID: string }).ID;
        },
        async renew(session) {
            const path = `/v1/session/renew/${session}`;
            const answer = await consul.ask(path, "PUT");
            if (answer.status === 200) return true;
            if (answer.status === 404) return false;
            throw new Error(`Consul: ${path}: ${answer.status} ${answer.body.trim().slice(0, 200)}`);
        },
        async acquire(session, holder) {
            const Value = Buffer.from(JSON.stringify(holder)).toString("base64");
            const answer = await consul.transact([{ KV: { Verb: "lock", Key: key, Value, Session: session } }]);
            return answer.results?.[0]?.LockIndex;
        },
        async release(session) {
            // Destroying an unreleased session would block the lock for the lock-delay.
            await put(`/v1/kv/${key}?release=${session}`);
            await put(`/v1/session/destroy/${session}`);
        },
        async holder() {
            const found = await consul.getKey(key);
            if (!found?.session) return undefined;
            const { host, pid } = JSON.parse(found.value) as Holder;
            return { host, pid, epoch: found.lockIndex };
        },
    };
}

/**
 * A lock service in this process, for tests, simulations and deployments with a single daemon. It keeps Consul's
 * promises, on the caller's clock.
 */
export class MemoryLocks {
    private readonly sessions = new Map<string, number>();
    private held: { session: string; holder: Holder } | undefined;
    private freeFrom = Number.NEGATIVE_INFINITY;
    private opened = 0;
    /** The lock's epoch: how many sessions have acquired it. */
    epoch = 0;

    constructor(
        private readonly now: () => number,
        private readonly times: LeaseTimes = leaseTimes,
        /** Multiple of the TTL after which a session ends. Consul takes between one and two times the TTL. */
        private readonly slack: () => number = () => 1,
    ) {}

    /** Whether the session has the lock now. */
    holds(session: string): boolean {
        this.expire();
        return this.held?.session === session;
    }

    /** The session that has the lock. */
    get holder(): string | undefined {
        this.expire();
        return this.held?.session;
    }

    /** The service for one daemon. */
    readonly service: Locks = {
        open: async () => {
            const id = `session-${++this.opened}`;
            this.sessions.set(id, this.deadline());
            return id;
        },
        renew: async (session) => {
            this.expire();
            if (!this.sessions.has(session)) return false;
            this.sessions.set(session, this.deadline());
            return true;
        },
        acquire: async (session, holder) => {
            this.expire();
            if (!this.sessions.has(session)) throw new Error("invalid session");
            if (this.held?.session === session) return this.epoch;
            if (this.held || this.now() < this.freeFrom) return undefined;
            this.held = { session, holder };
            return ++this.epoch;
        },
        release: async (session) => {
            this.expire();
            if (this.held?.session === session) this.held = undefined;
            this.sessions.delete(session);
        },
        holder: async () => {
            this.expire();
            return this.held ? { ...this.held.holder, epoch: this.epoch } : undefined;
        },
    };

    /** Ends a session, as an operator or the loss of its node would. */
    invalidate(session: string): void {
        this.sessions.delete(session);
        if (this.held?.session !== session) return;
        this.held = undefined;
        this.freeFrom = this.now() + this.times.lockDelay;
    }

    private deadline(): number {
        return this.now() + this.times.ttl * this.slack();
    }

    private expire(): void {
        for (const [session, deadline] of this.sessions) if (this.now() >= deadline) this.invalidate(session);
    }
}
