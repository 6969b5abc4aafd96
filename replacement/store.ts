/** Where the loop's memory and its pause switch are kept. */
import { z } from "zod";
import { emptyMemory, type Memory, memorySchema } from "./memory";
import type { Pause } from "./observation";
import type { ConsulHttp, KvOperation } from "./observers/consul";

/** A memory, and by which version of it the next one is compared. */
export interface Stored {
    readonly memory: Memory;
    readonly index: number;
}

/** What a write is bound to: it is refused once this session does not hold the leader's lock any more. */
export interface Fence {
    readonly session: string;
}

/** A write was refused because the writer is not the leader any more. */
export class FencedOff extends Error {
    override readonly name = "FencedOff";
}

/** All of these throw when the store cannot be reached, or holds what this program does not understand. */
export interface Store {
    load(): Promise<Stored>;
    /**
     * Writes if nobody has since `index`, and if the fence holds; without one anybody may, such as an operator.
     *
     * @returns the new version, or undefined when somebody has written.
     * @throws FencedOff when the fence does not hold.
     */
    save(memory: Memory, index: number, fence?: Fence): Promise<Stored | undefined>;
    /** Undefined when the loop is not paused. */
    pause(): Promise<Pause | undefined>;
    /** Sets the pause switch, or with undefined releases it. */
    setPause(pause: Pause | undefined): Promise<void>;
}

/** A store in this process, for tests and simulations; `holds` tells whether a session has the lock. */
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

/** Where the keys are by default. */
export const defaultPrefix = "gateway/replacement/";

/** The key of the leader's lock below a prefix. It is never deleted, because its epoch would begin anew. */
export function lockKey(prefix = defaultPrefix): string {
    return `${prefix}leader`;
}

/** The pause switch, as it is stored. */
export const pauseSchema = z.object({ who: z.string(), why: z.string(), when: z.number() });

/** Consul's KV store: keys `memory` and `paused` below `prefix`. */
export function consulStore(consul: ConsulHttp, prefix = defaultPrefix): Store {
    const memoryKey = `${prefix}memory`;
    const pauseKey = `${prefix}paused`;

    async function read<T>(key: string, schema: z.ZodType<T>): Promise<{ value: T; index: number } | undefined> {
        const found = await consul.getKey(key);
        if (!found) return undefined;
        return { value: parse(`Consul's key ${key}`, found.value, schema), index: found.index };
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

/** Reads what was stored at a `place`. @throws Error naming the place when it is not what this program understands. */
export function parse<T>(place: string, text: string, schema: z.ZodType<T>): T {
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
