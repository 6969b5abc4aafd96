/** The loop's memory, pause switch and desk in files, for a deployment without Consul. */
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { readIfThere, writeAtomically } from "../supervisor/files";
import { identify, isAlive } from "../supervisor/process";
import { type Answer, answerSchema, type Desk, requestSchema } from "./desk";
import { emptyMemory, memorySchema } from "./memory";
import { parse, pauseSchema, type Store } from "./store";

/** How long another process may hold the lock, milliseconds: it is held for one reading and one writing. */
const LOCK_TIMEOUT = 5_000;
const LOCK_RETRY = 20;

const fileSchema = z.object({
    index: z.number().int().nonnegative(),
    memory: memorySchema,
    paused: pauseSchema.optional(),
});
const ownerSchema = z.object({ pid: z.number().int().positive(), startTime: z.string() });

/**
 * A store in the file `path`. Several processes of this machine may use it: whoever writes holds the lock `path.lock`,
 * which is taken over when its owner is dead. Processes of other machines must not: two files would be two memories, and
 * the budget would be spent twice. So exactly one machine runs the loop, and the fence of a write says nothing here.
 */
export function fileStore(path: string): Store {
    const read = (): z.infer<typeof fileSchema> => {
        const text = readIfThere(path);
        return text === undefined ? { index: 0, memory: emptyMemory } : parse(path, text, fileSchema);
    };
    const change = <T>(step: (content: z.infer<typeof fileSchema>) => readonly [T, z.infer<typeof fileSchema>?]) =>
        withLock(`${path}.lock`, () => {
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

const deskSchema = z.object({ request: requestSchema.optional(), answer: answerSchema.optional() });

/**
 * A desk in the file `path`, for operators on the loop's own machine. The loop's snapshot and journal are on that machine
 * anyway, so nothing is published.
 */
export function fileDesk(path: string): Desk {
    const read = (): z.infer<typeof deskSchema> => {
        const text = readIfThere(path);
        return text === undefined ? {} : parse(path, text, deskSchema);
    };
    const change = (step: (content: z.infer<typeof deskSchema>) => z.infer<typeof deskSchema> | undefined) =>
        withLock(`${path}.lock`, () => {
            const next = step(read());
            if (next) writeAtomically(path, JSON.stringify(next), 0o600);
            return next !== undefined;
        });
    const without = ({ request, ...content }: z.infer<typeof deskSchema>, id: string) =>
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

/** Does the step while no other process of this machine does one. @throws Error when another takes too long. */
async function withLock<T>(lock: string, step: () => T): Promise<T> {
    const claim = `${lock}.${process.pid}.${Math.random().toString(36).slice(2)}`;
    const deadline = Date.now() + LOCK_TIMEOUT;
    mkdirSync(dirname(lock), { recursive: true, mode: 0o700 });
    writeFileSync(claim, JSON.stringify(identify(process.pid)), { mode: 0o600 });
    try {
        while (!take(claim, lock)) {
            if (isAbandoned(lock)) setAside(lock, `${claim}.old`);
            else if (Date.now() > deadline) throw new Error(`${lock} is held by another process`);
            else await delay(LOCK_RETRY);
        }
    } finally {
        rmSync(claim, { force: true });
    }
    try {
        return step();
    } finally {
        rmSync(lock, { force: true });
    }
}

/** Puts the claim, with its content, in the lock's place unless there is one. */
function take(claim: string, lock: string): boolean {
    try {
        linkSync(claim, lock);
        return true;
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
        throw error;
    }
}

/** Whether the lock's owner is dead. One that is gone, or cannot be read, is not. */
function isAbandoned(lock: string): boolean {
    const text = readIfThere(lock);
    if (text === undefined) return false;
    const owner = ownerSchema.safeParse(JSON.parse(text));
    return owner.success && !isAlive(owner.data);
}

/** Removes a dead owner's lock: by renaming, so that of several only one does; back it goes if it was a living one's. */
function setAside(lock: string, aside: string): void {
    try {
        renameSync(lock, aside);
    } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
        throw error;
    }
    if (!isAbandoned(aside)) take(aside, lock);
    rmSync(aside, { force: true });
}
