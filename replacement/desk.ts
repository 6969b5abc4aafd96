/** Where operators and the leader meet: requests and answers, and what the leader publishes for them to read. */
import { gunzipSync, gzipSync } from "node:zlib";
import { z } from "zod";
import type { JournalEntry } from "./journal";
import type { ReplaceRequest } from "./observation";
import type { ConsulHttp } from "./observers/consul";
import type { Snapshot } from "./snapshot";
import { defaultPrefix } from "./store";

/** What came of a request. */
export interface Answer {
    /** The request's. */
    readonly id: string;
    /** Whether the server was replaced. */
    readonly done: boolean;
    /** Why not, or what was done. */
    readonly text: string;
    /** Seconds since 1970. */
    readonly time: number;
}

/** All of these throw when the desk cannot be reached. */
export interface Desk {
    /** Asks for a replacement, unless another request waits. @returns whether it was put down. */
    ask(request: ReplaceRequest): Promise<boolean>;
    /** The request that waits, if any. */
    request(): Promise<ReplaceRequest | undefined>;
    /** Takes a request away, answered or not. */
    withdraw(id: string): Promise<void>;
    /** Answers a request, and takes it away. */
    reply(answer: Answer): Promise<void>;
    /** The last answer. */
    answer(): Promise<Answer | undefined>;
    /** Publishes what the leader sees; a snapshot that is too large for the desk is left out. */
    publish(snapshot: Snapshot): Promise<void>;
    published(): Promise<Snapshot | undefined>;
    /** Writes an entry of the journal; the oldest of so many goes. */
    record(entry: JournalEntry): Promise<void>;
    /** The entries that are kept, oldest first. */
    records(): Promise<JournalEntry[]>;
}

/** A request older than this is not carried out any more, in seconds: whoever asked has gone. */
export const requestLifetime = 300;

/** How many entries of the journal the desk keeps. */
const RECORDS = 64;
/** Consul refuses values above 512 KiB. */
const MAX_BYTES = 500_000;

/** A request, as it is stored. */
export const requestSchema = z.object({
    id: z.string(),
    slot: z.string(),
    who: z.string(),
    why: z.string(),
    when: z.number(),
});
/** An answer, as it is stored. */
export const answerSchema = z.object({ id: z.string(), done: z.boolean(), text: z.string(), time: z.number() });

/** A desk in Consul's KV store: `request`, `answer`, `snapshot` and `journal/…` below `prefix`. */
export function consulDesk(consul: ConsulHttp, prefix = defaultPrefix): Desk {
    const [requestKey, answerKey, snapshotKey] = [`${prefix}request`, `${prefix}answer`, `${prefix}snapshot`];
    let next: number | undefined;
    const read = async <T>(key: string, schema: z.ZodType<T>) => {
        const found = await consul.getKey(key);
        return found && schema.safeParse(json(found.value)).data;
    };
    const desk: Desk = {
        async ask(request) {
            const Value = Buffer.from(JSON.stringify(request)).toString("base64");
            const { failed } = await consul.transact([{ KV: { Verb: "cas", Key: requestKey, Value, Index: 0 } }]);
            return failed === undefined;
        },
        request: () => read(requestKey, requestSchema),
        async withdraw(id) {
            const found = await consul.getKey(requestKey);
            if (!found || requestSchema.safeParse(json(found.value)).data?.id !== id) return;
            await consul.transact([{ KV: { Verb: "delete-cas", Key: requestKey, Index: found.index } }]);
        },
        async reply(answer) {
            await consul.putKey(answerKey, JSON.stringify(answer));
            await desk.withdraw(answer.id);
        },
        answer: () => read(answerKey, answerSchema),
        async publish(snapshot) {
            const packed = pack(snapshot);
            if (packed.length <= MAX_BYTES) await consul.putKey(snapshotKey, packed);
        },
        async published() {
            const found = await consul.getKey(snapshotKey);
            return found && (unpack(found.value) as Snapshot);
        },
        async record(entry) {
            if (next === undefined) {
                const times = new Map(
                    (await consul.getKeys(`${prefix}journal/`)).map(({ key, index }) => [key, index]),
                );
                const newest = [...times].sort(([, a], [, b]) => b - a)[0]?.[0];
                next = newest === undefined ? 0 : Number(newest.split("/").at(-1)) + 1;
            }
            const packed = pack(entry);
            if (packed.length > MAX_BYTES) return;
            await consul.putKey(`${prefix}journal/${next % RECORDS}`, packed);
            next++;
        },
        async records() {
            const found = await consul.getKeys(`${prefix}journal/`);
            return found.sort((a, b) => a.index - b.index).map(({ value }) => unpack(value) as JournalEntry);
        },
    };
    return desk;
}

function pack(value: unknown): string {
    return gzipSync(JSON.stringify(value)).toString("base64");
}

function unpack(text: string): unknown {
    return JSON.parse(gunzipSync(Buffer.from(text, "base64")).toString("utf8"));
}

function json(text: string): unknown {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

/** A desk in this process, for tests and simulations. */
export function memoryDesk(): Desk {
    let waiting: ReplaceRequest | undefined;
    let last: Answer | undefined;
    let seen: Snapshot | undefined;
    const entries: JournalEntry[] = [];
    const desk: Desk = {
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
            await desk.withdraw(answer.id);
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
    return desk;
}
