/** The loop's memory, pause switch and operator commands in files, for a deployment without Consul. */
import { z } from "zod";
import { readIfThere, writeAtomically } from "../lib/files";
import { withLock } from "../lib/locks";
import { emptyMemory, memorySchema } from "./core/loopMemory";
import { type Answer, answerSchema, type OperatorCommands, requestSchema } from "./operatorCommands";
import { parseStored, pauseSchema, type Store } from "./store";

/** How long another process may hold the lock, in milliseconds. A holder only reads and writes once. */
const LOCK_TIMEOUT = 5_000;
const LOCK_RETRY = 20;

const fileSchema = z.object({
    index: z.number().int().nonnegative(),
    memory: memorySchema,
    paused: pauseSchema.optional(),
});

/**
 * A store in the file `path`, for processes of one machine. A writer holds the lock `path.lock`, which others take over
 * when its owner is dead. Exactly one machine may run the loop: two files would be two memories, and the loop would spend
 * the budget twice. Writes therefore need no fence.
 *
 * @param lockTimeout how long another process may hold the lock, milliseconds. Default 5 s.
 */
export function fileStore(path: string, lockTimeout = LOCK_TIMEOUT): Store {
    const read = (): z.infer<typeof fileSchema> => {
        const text = readIfThere(path);
        return text === undefined ? { index: 0, memory: emptyMemory } : parseStored(path, text, fileSchema);
    };
    const change = <T>(step: (content: z.infer<typeof fileSchema>) => readonly [T, z.infer<typeof fileSchema>?]) =>
        withLock(`${path}.lock`, { timeout: lockTimeout, every: LOCK_RETRY }, () => {
            const [result, next] = step(read());
            if (next) writeAtomically(path, JSON.stringify(next), 0o600);
            return result;
        });
    return {
        async load() {
            const { index, memory } = read();
            return { index, memory };
        },
        save: (memory, index) =>
            change((content) => {
                if (content.index !== index) return [undefined];
                const next = { ...content, memory, index: index + 1 };
                return [{ memory, index: next.index }, next];
            }),
        pause: async () => read().paused,
        setPause: (pause) =>
            change(({ paused: _, ...content }) => [undefined, pause ? { ...content, paused: pause } : content]),
    };
}

const commandsSchema = z.object({ request: requestSchema.optional(), answer: answerSchema.optional() });

/**
 * Operator commands in the file `path`, for operators on the loop's own machine. Snapshot and journal are on that machine
 * too, so nothing is published.
 */
export function fileCommands(path: string): OperatorCommands {
    const read = (): z.infer<typeof commandsSchema> => {
        const text = readIfThere(path);
        return text === undefined ? {} : parseStored(path, text, commandsSchema);
    };
    const change = (step: (content: z.infer<typeof commandsSchema>) => z.infer<typeof commandsSchema> | undefined) =>
        withLock(`${path}.lock`, { timeout: LOCK_TIMEOUT, every: LOCK_RETRY }, () => {
            const next = step(read());
            if (next) writeAtomically(path, JSON.stringify(next), 0o600);
            return next !== undefined;
        });
    const without = ({ request, ...content }: z.infer<typeof commandsSchema>, id: string) =>
        request?.id === id ? content : undefined;
    return {
        ask: (request) => change((content) => (content.request ? undefined : { ...content, request })),
        request: async () => read().request,
        withdraw: async (id) => void (await change((content) => without(content, id))),
        reply: async (answer: Answer) =>
            void (await change((content) => ({ ...(without(content, answer.id) ?? content), answer }))),
        answer: async () => read().answer,
        publish: async () => undefined,
        published: async () => undefined,
        record: async () => undefined,
        records: async () => [],
    };
}
