/** Locks on the deployment's state, as the engine's own backends keep them: files, or a bucket's objects, without an expiry. */
import { existsSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { readJson } from "../supervisor/files";
import { identify } from "../supervisor/process";
import type { StackLock } from "./recovery";

/** The locks of one stack. */
export interface StateLocks {
    list(): Promise<StackLock[]>;
    /** Removes one lock; one that is gone already is no error. */
    remove(lock: StackLock): Promise<void>;
}

/**
 * The locks of a backend; undefined for one of a kind whose locks only an operator can remove.
 *
 * @param backend such as `file:///var/lib/gateway/state` or `s3://bucket?region=us-east-1`.
 */
export function stateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    return fileStateLocks(backend, project, stack) ?? bucketStateLocks(backend, project, stack);
}

/** Who has a lock, of which the engine has written where it runs. */
function stackLock(
    id: string,
    { pid, hostname: host }: { readonly pid: number; readonly hostname: string },
): StackLock {
    return { id, host, pid, owner: host !== hostname() ? "elsewhere" : runsEngine(pid) ? "alive" : "dead" };
}

/** The locks in a file backend; undefined for a backend of another kind. */
export function fileStateLocks(backend: string, project: string, stack: string): StateLocks | undefined {
    if (!backend.startsWith("file://")) return undefined;
    const root = backend.startsWith("file:///") ? fileURLToPath(backend.replace(/\?.*$/, "")) : backend.slice(7);
    const directory = join(root, ".pulumi", "locks", "organization", project, stack);
    return {
        async list() {
            if (!existsSync(directory)) return [];
            // Beside each lock there may be a file with its attributes.
            const names = readdirSync(directory).filter((name) => name.endsWith(".json"));
            return names.flatMap((name): StackLock[] => {
                const lock = readJson<{ pid: number; hostname: string }>(join(directory, name));
                // Without a content it is being written, or removed.
                return lock ? [stackLock(name, lock)] : [];
            });
        },
        async remove({ id }) {
            const path = join(directory, basename(id));
            rmSync(path, { force: true });
            rmSync(`${path}.attrs`, { force: true });
        },
    };
}

/**
 * The locks in a bucket; undefined for a backend of another kind. Credentials are found as the engine finds them: in the
 * environment, or in the file that AWS_SHARED_CREDENTIALS_FILE names.
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
                        // Removed meanwhile.
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

/** What the URL of a bucket says: the options are those that the engine understands (gocloud.dev/blob/s3blob). */
export function bucketOf(backend: string) {
    const { hostname: bucket, pathname, searchParams } = new URL(backend);
    const given = (...names: string[]) => names.map((name) => searchParams.get(name)).find((value) => value !== null);
    const endpoint = given("endpoint");
    const plain = given("disableSSL", "disable_https") === "true";
    const region = given("region") ?? process.env.AWS_REGION ?? (endpoint ? "us-east-1" : undefined);
    const folder = pathname.replace(/^\/+/, "").replace(/\/*$/, "/");
    return {
        bucket,
        folder: folder === "/" ? "" : folder,
        options: {
            ...(region ? { region } : {}),
            ...(endpoint
                ? { endpoint: endpoint.includes("://") ? endpoint : `${plain ? "http" : "https"}://${endpoint}` }
                : {}),
            ...(given("s3ForcePathStyle", "use_path_style") === "true" ? { forcePathStyle: true } : {}),
        },
    };
}

/** Whether a process is the engine: pids are used again. One that cannot be looked into counts as the engine. */
function runsEngine(pid: number): boolean {
    if (!identify(pid)) return false;
    try {
        return /^pulumi/.test(basename(readlinkSync(`/proc/${pid}/exe`)));
    } catch (error) {
        return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
}
