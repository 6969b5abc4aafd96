/** Operator commands: operators' requests, the leader's answers, and what the leader publishes for operators. */
import { gunzipSync, gzipSync } from "node:zlib";
import { z } from "zod";
import type { ConsulHttp } from "../clients/consul";
import type { ReplaceRequest } from "./core/observation";
import type { JournalEntry } from "./journal";
import type { Snapshot } from "./snapshot";
import { defaultPrefix } from "./store";

/** The leader's answer to a request. */
export interface Answer {
    /** The request's id. */
    readonly id: string;
    /** Whether the server was replaced. */
    readonly done: boolean;
    /** Why not, or what was done. */
    readonly text: string;
    /** Seconds since 1970. */
    readonly time: number;
}

/** Exchanges commands between operators and the leader. All methods throw when the place of exchange cannot be reached. */
export interface OperatorCommands {
    /** Requests a replacement, unless another request is waiting. @returns whether the request was placed. */
    ask(request: ReplaceRequest): Promise<boolean>;
    /** The waiting request, if any. */
    request(): Promise<ReplaceRequest | undefined>;
    /** Removes a request, answered or not. */
    withdraw(id: string): Promise<void>;
    /** Answers a request and removes it. */
    reply(answer: Answer): Promise<void>;
    /** The last answer. */
    answer(): Promise<Answer | undefined>;
    /** Publishes what the leader sees. Skips a snapshot that is too large. */
    publish(snapshot: Snapshot): Promise<void>;
    published(): Promise<Snapshot | undefined>;
    /** Publishes an entry of the journal. A limited number is kept. */
    record(entry: JournalEntry): Promise<void>;
    /** The published entries, oldest first. */
    records(): Promise<JournalEntry[]>;
}

/** The leader ignores requests older than this, in seconds: the operator has gone. */
export const requestLifetime = 300;

/** How many entries of the journal are kept. */
const RECORDS = 64;
/** Consul refuses values above 512 KiB. */
const MAX_BYTES = 500_000;

/** A request, as stored. */
export const requestSchema = z.object({
    id: z.string(),
    slot: z.string(),
    who: z.string(),
    why: z.string(),
    when: z.number(),
});
/** An answer, as stored. */
export const answerSchema = z.object({ id: z.string(), done: z.boolean(), text: z.string(), time: z.number() });

/** Operator commands in Consul's KV store: `request`, `answer`, `snapshot` and `journal/…` below `prefix`. */
export function consulCommands(consul: ConsulHttp, prefix = defaultPrefix): OperatorCommands {
    const [requestKey, answerKey, snapshotKey] = [`${prefix}request`, `${prefix}answer`, `${prefix}snapshot`];
    let next: number | undefined;
    const read = async <T>(key: string, schema: z.ZodType<T>) => {
        const found = await consul.getKey(key);
        return found && schema.safeParse(parseJson(found.value)).data;
    };
    const commands: OperatorCommands = {
        async ask(request) {
            const Value = Buffer.from(JSON.stringify(request)).toString("base64");
            const { failed } = await consul.transact([{ KV: { Verb: "cas", Key: requestKey, Value, Index: 0 } }]);
            return failed === undefined;
        },
        request: () => read(requestKey, requestSchema),
        async withdraw(id) {
            const found = await consul.getKey(requestKey);
            if (!found || requestSchema.safeParse(parseJson(found.value)).data?.id !== id) return;
            await consul.transact([{ KV: { Verb: "delete-cas", Key: requestKey, Index: found.index } }]);
        },
        async reply(answer) {
            await consul.putKey(answerKey, JSON.stringify(answer));
            await commands.withdraw(answer.id);
        },
        answer: () => read(answerKey, answerSchema),
        async publish(snapshot) {
            const packed = gzipJson(snapshot);
            if (packed.length <= MAX_BYTES) await consul.putKey(snapshotKey, packed);
        },
        async published() {
            const found = await consul.getKey(snapshotKey);
            return found && (gunzipJson(found.value) as Snapshot);
        },
        async record(entry) {
            if (next === undefined) {
                const times = new Map(
                    (await consul.getKeys(`${prefix}journal/`)).map(({ key, index }) => [key, index]),
                );
                const newest = [...times].sort(([, a], [, b]) => b - a)[0]?.[0];
                next = newest === undefined ? 0 : Number(newest.split("/").at(-1)) + 1;
            }
            const packed = gzipJson(entry);
            if (packed.length > MAX_BYTES) return;
            await consul.putKey(`${prefix}journal/${next % RECORDS}`, packed);
            next++;
        },
        async records() {
            const found = await consul.getKeys(`${prefix}journal/`);
            return found.sort((a, b) => a.index - b.index).map(({ value }) => gunzipJson(value) as JournalEntry);
        },
    };
    return commands;
}

function gzipJson(value: unknown): string {
    return gzipSync(JSON.stringify(value)).toString("base64");
}

function gunzipJson(text: string): unknown {
    return JSON.parse(gunzipSync(Buffer.from(text, "base64")).toString("utf8"));
}

function parseJson(text: string): unknown {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

/** Operator commands in this process, for tests and simulations. */
export function memoryCommands(): OperatorCommands {
    let waiting: ReplaceRequest | undefined;
    let last: Answer | undefined;
    let seen: Snapshot | undefined;
    const entries: JournalEntry[] = [];
    const commands: OperatorCommands = {
        async ask(request) {
            if (waiting) return false;
            waiting = request;
            return true;
        },
        request: async () => waiting,
        async withdraw(id) {
            if (waiting?.id === id) waiting = undefined;
        },
        async reply(answer) {
            last = answer;
            await commands.withdraw(answer.id);
        },
        answer: async () => last,
        async publish(snapshot) {
            seen = snapshot;
        },
        published: async () => seen,
        async record(entry) {
            entries.push(entry);
            if (entries.length > RECORDS) entries.shift();
        },
        records: async () => [...entries],
    };
    return commands;
}
