/** Stores of the loop's memory and its pause switch. */
import { z } from "zod";
import type { ConsulHttp, KvOperation } from "../clients/consul";
import { emptyMemory, type Memory, memorySchema } from "./core/loopMemory";
import type { Pause } from "./core/observation";

/** A memory and its version, which the next write compares. */
export interface Stored {
    readonly memory: Memory;
    readonly index: number;
}

/** Binds a write to a session. The store refuses it once the session no longer holds the leader's lock. */
export interface Fence {
    readonly session: string;
}

/** The store refused a write because the writer is no longer the leader. */
export class FencedOff extends Error {
    override readonly name = "FencedOff";
}

/** A store. All methods throw when it cannot be reached or holds what this version does not understand. */
export interface Store {
    load(): Promise<Stored>;
    /**
     * Writes if the stored version is still `index` and the fence holds. Operators write without a fence.
     *
     * @returns the new version, or undefined when somebody else has written.
     * @throws FencedOff when the fence does not hold.
     */
    save(memory: Memory, index: number, fence?: Fence): Promise<Stored | undefined>;
    /** Undefined when the loop is not paused. */
    pause(): Promise<Pause | undefined>;
    /** Sets the pause switch, or with undefined releases it. */
    setPause(pause: Pause | undefined): Promise<void>;
}

/** A store in this process, for tests and simulations; `holds` tells whether a session holds the lock. */
export function memoryStore(holds: (session: string) => boolean = () => true): Store {
    let stored: Stored = { memory: emptyMemory, index: 0 };
    let paused: Pause | undefined;
    return {
        load: async () => structuredClone(stored),
        async save(memory, index, fence) {
            if (fence && !holds(fence.session)) throw new FencedOff("the lock has another holder");
            if (index !== stored.index) return undefined;
            stored = structuredClone({ memory, index: index + 1 });
            return stored;
        },
        pause: async () => paused,
        async setPause(pause) {
            paused = pause;
        },
    };
}

/** Default prefix of the loop's keys in Consul. */
export const defaultPrefix = "gateway/replacement/";

/** The key of the leader's lock below a prefix. Nothing deletes it, because the epoch would start anew. */
export function lockKey(prefix = defaultPrefix): string {
    return `${prefix}leader`;
}

/** The pause switch, as stored. */
export const pauseSchema = z.object({ who: z.string(), why: z.string(), when: z.number() });

/** Consul's KV store: keys `memory` and `paused` below `prefix`. */
export function consulStore(consul: ConsulHttp, prefix = defaultPrefix): Store {
    const memoryKey = `${prefix}memory`;
    const pauseKey = `${prefix}paused`;

    async function read<T>(key: string, schema: z.ZodType<T>): Promise<{ value: T; index: number } | undefined> {
        const found = await consul.getKey(key);
        if (!found) return undefined;
        return { value: parseStored(`Consul's key ${key}`, found.value, schema), index: found.index };
    }

    return {
        async load() {
            const found = await read(memoryKey, memorySchema);
            return found ? { memory: found.value, index: found.index } : { memory: emptyMemory, index: 0 };
        },
        async save(memory, index, fence) {
            const Value = Buffer.from(JSON.stringify(memory)).toString("base64");
            const fencing: KvOperation[] = fence
                ? [{ KV: { Verb: "check-session", Key: lockKey(prefix), Session: fence.session } }]
                : [];
            const operations: KvOperation[] = [
                ...fencing,
                { KV: { Verb: "cas", Key: memoryKey, Value, Index: index } },
            ];
            const { results, failed } = await consul.transact(operations);
            if (failed && failed.operation < fencing.length) throw new FencedOff(failed.what);
            if (failed) return undefined;
            const written = results?.at(-1)?.ModifyIndex;
            if (written === undefined) throw new Error("Consul: /v1/txn: the answer has no result");
            return { memory, index: written };
        },
        pause: async () => (await read(pauseKey, pauseSchema))?.value,
        async setPause(pause) {
            if (pause) await consul.putKey(pauseKey, JSON.stringify(pause));
            else await consul.deleteKey(pauseKey);
        },
    };
}

/** Parses what is stored at `place`. @throws Error naming the place when this version does not understand it. */
export function parseStored<T>(place: string, text: string, schema: z.ZodType<T>): T {
    let value: unknown;
    try {
        value = JSON.parse(text);
    } catch {
        throw new Error(`${place} does not hold JSON`);
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new Error(
        `${place} holds what this version does not understand: ${issue?.path.join(".")}: ${issue?.message}`,
    );
}
