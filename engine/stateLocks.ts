/** Locks on the deployment's state, as the engine's backends keep them: files or objects in a bucket, without expiry. */
import { existsSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { readJson, writeAtomically } from "../lib/files";
import { machineId } from "../lib/locks";
import { identify } from "../lib/processes";

/** The locks of one stack. */
export interface StateLocks {
    list(): Promise<StackLock[]>;
    /** Removes a lock. Succeeds also when it does not exist. */
    remove(lock: StackLock): Promise<void>;
}

/**
 * The locks of a backend; undefined for kinds whose locks only an operator can remove.
 *
 * @param backend such as `file:///var/lib/gateway/state` or `s3://bucket?region=us-east-1`.
 */
export function stateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    return fileStateLocks(backend, project, stack) ?? bucketStateLocks(backend, project, stack);
}

/**
 * Removes the locks of this machine's dead engines. Only this machine knows that they are dead; any other one would have to
 * wait as long as a run can take. It removes no lock of a living process, so it needs no leadership.
 *
 * @returns the removed locks.
 */
export async function removeOwnDeadLocks(locks: StateLocks): Promise<StackLock[]> {
    const dead = (await locks.list()).filter(({ owner }) => owner === "dead");
    for (const lock of dead) await locks.remove(lock);
    return dead;
}

/** A lock as the engine writes it. */
interface EngineLock {
    readonly pid: number;
    readonly hostname: string;
    readonly username?: string;
    /** ISO 8601. */
    readonly timestamp?: string;
}

/**
 * A lock with its owner.
 *
 * @param names the names that this computer has, or had.
 */
function stackLock(
    id: string,
    { pid, hostname: host, username, timestamp }: EngineLock,
    names: readonly string[] = [hostname()],
): StackLock {
    const owner = !names.includes(host) ? "elsewhere" : runsEngine(pid) ? "alive" : "dead";
    return {
        id,
        host,
        pid,
        ...(username ? { user: username } : {}),
        ...(timestamp ? { since: timestamp } : {}),
        owner,
    };
}

/** The folder of a file backend; undefined for a backend of another kind. */
export function folderOf(backend: string): string | undefined {
    if (!backend.startsWith("file://")) return undefined;
    return backend.startsWith("file:///") ? fileURLToPath(backend.replace(/\?.*$/, "")) : backend.slice(7);
}

/** The locks in a file backend; undefined for a backend of another kind. */
export function fileStateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    const root = folderOf(backend);
    if (root === undefined) return undefined;
    const directory = join(root, ".pulumi", "locks", "organization", project, stack);
    return {
        async list() {
            if (!existsSync(directory)) return [];
            // A file with attributes may accompany each lock.
            const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
            const { [machineId()]: own = [], ...others } = readNames(root);
            // A name that another computer has, too, tells nothing.
            const foreign = Object.values(others).flat();
            const names = [hostname(), ...own].filter((name) => !foreign.includes(name));
            return files.flatMap((name): StackLock[] => {
                const lock = readJson<EngineLock>(join(directory, name));
                // An empty file is being written or removed.
                return lock ? [stackLock(name, lock, names)] : [];
            });
        },
        async remove({ id }) {
            const path = join(directory, basename(id));
            rmSync(path, { force: true });
            rmSync(`${path}.attrs`, { force: true });
        },
    };
}

/** File beside the engine's own: the names of each computer that has used the state, by machine id. */
const NAMES = "gateway-computers.json";

function readNames(root: string): Readonly<Record<string, readonly string[]>> {
    return readJson<Record<string, string[]>>(join(root, NAMES)) ?? {};
}

/**
 * Keeps this computer's name beside the state. The engine's locks name the computer by nothing else, and a laptop may be renamed
 * while one is left behind. Does nothing for a state that is not in files.
 */
export function rememberComputer(backend: string): void {
    const root = folderOf(backend);
    if (root === undefined || !existsSync(root)) return;
    const [names, id] = [readNames(root), machineId()];
    const own = names[id] ?? [];
    if (own.includes(hostname())) return;
    writeAtomically(join(root, NAMES), JSON.stringify({ ...names, [id]: [...own, hostname()] }), 0o600);
}

/**
 * The locks in a bucket; undefined for a backend of another kind. Credentials come from where the engine takes them: the
 * environment, or the file that AWS_SHARED_CREDENTIALS_FILE names.
 */
export function bucketStateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    if (!backend.startsWith("s3://")) return undefined;
    const { bucket, folder, options } = bucketOf(backend);
    const prefix = `${folder}.pulumi/locks/organization/${project}/${stack}/`;
    let client: S3Client | undefined;
    const s3 = () => {
        client ??= new S3Client({ maxAttempts: 2, requestHandler: { requestTimeout: 10_000 }, ...options });
        return client;
    };
    return {
        async list() {
            const { Contents = [] } = await s3().send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
            const names = Contents.flatMap(({ Key }) => (Key?.endsWith(".json") ? [Key.slice(prefix.length)] : []));
            const found = await Promise.all(
                names.map(async (name) => {
                    const text = await s3()
                        .send(new GetObjectCommand({ Bucket: bucket, Key: prefix + name }))
                        .then(({ Body }) => Body?.transformToString())
                        // It may have been removed since the listing.
                        .catch((error: Error) => {
                            if (error.name !== "NoSuchKey") throw error;
                            return undefined;
                        });
                    return text === undefined ? [] : [stackLock(name, JSON.parse(text))];
                }),
            );
            return found.flat();
        },
        async remove({ id }) {
            await s3().send(new DeleteObjectCommand({ Bucket: bucket, Key: prefix + basename(id) }));
        },
    };
}

/** Parses a bucket's URL with the options that the engine understands (gocloud.dev/blob/s3blob). */
export function bucketOf(backend: string) {
    const { hostname: bucket, pathname, searchParams } = new URL(backend);
    const option = (...names: string[]) => names.map((name) => searchParams.get(name)).find((value) => value !== null);
    const endpoint = option("endpoint");
    const plain = option("disableSSL", "disable_https") === "true";
    const region = option("region") ?? process.env.AWS_REGION ?? (endpoint ? "us-east-1" : undefined);
    const folder = pathname.replace(/^\/+/, "").replace(/\/*$/, "/");
    return {
        bucket,
        folder: folder === "/" ? "" : folder,
        options: {
            ...(region ? { region } : {}),
            ...(endpoint
                ? { endpoint: endpoint.includes("://") ? endpoint : `${plain ? "http" : "https"}://${endpoint}` }
                : {}),
            ...(option("s3ForcePathStyle", "use_path_style") === "true" ? { forcePathStyle: true } : {}),
        },
    };
}

/** Whether a process is the engine, because pids are reused. A process that cannot be inspected counts as the engine. */
function runsEngine(pid: number): boolean {
    if (!identify(pid)) return false;
    try {
        return /^pulumi/.test(basename(readlinkSync(`/proc/${pid}/exe`)));
    } catch (error) {
        return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
}

/** A lock on the deployment's state. */
export interface StackLock {
    readonly id: string;
    /** The owner's machine, according to the lock. */
    readonly host: string;
    readonly pid: number;
    readonly user?: string;
    /** When it was taken, ISO 8601. */
    readonly since?: string;
    /** Whether its owner runs; unknown for an owner elsewhere. */
    readonly owner: "dead" | "alive" | "elsewhere";
}

/** Who holds a lock, and the one command that ends it, for messages. */
export function describeLock({ pid, host, user, since, owner }: StackLock, stack: string): string {
    const who = `process ${pid}${user ? ` of ${user}` : ""} on ${host}${since ? `, since ${since}` : ""}`;
    const cancel = `eval "$(npm run --silent env -- ${stack})" && pulumi cancel --yes --stack ${stack}`;
    if (owner === "alive") return `${who}; it runs on this computer. Wait for it to end, or end it: kill ${pid}`;
    if (owner === "dead") return `${who}; it is this computer's, and does not run any more. Remove the lock: ${cancel}`;
    return `${who}; that is not this computer. If nothing deploys there any more, remove the lock: ${cancel}`;
}

/** The locks that the engine names in its message, where they cannot be read otherwise. */
export function locksInMessage(message: string): StackLock[] {
    return [...message.matchAll(/created by (\S+)@(\S+) \(pid (\d+)\) at (\S+)/g)].map(
        ([id, username = "", host = "", pid, timestamp = ""]) =>
            stackLock(id, { pid: Number(pid), hostname: host, username, timestamp }),
    );
}
