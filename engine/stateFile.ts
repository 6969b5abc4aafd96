/**
 * The deployment's state as the engine's backends keep it: a file or an object in a bucket. Reading it takes milliseconds.
 * The CLI needs most of a second for the same, because it starts a process and derives the key of the secrets.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { bucketOf, folderOf } from "./stateLocks";

/** What a backend holds of a stack. Secrets are encrypted. */
export interface StateFile {
    /** The deployment in the format of `pulumi stack export`. */
    readonly deployment: unknown;
    /** Changes with each change of the state. */
    readonly version: string;
}

/** Reads the state. @returns undefined when it is not kept as this reader knows it. @throws Error when there is no access. */
export type StateReader = () => Promise<StateFile | undefined>;

/** The used part of a stack's file (`apitype.VersionedCheckpoint`). */
interface Checkpoint {
    readonly version?: number;
    readonly checkpoint?: { readonly latest?: unknown };
}

/** Version of the file's format that this reader knows. */
const VERSION = 3;

/**
 * The reader of a backend; undefined for kinds that only the CLI can read.
 *
 * @param backend such as `file:///var/lib/gateway/state` or `s3://bucket?region=us-east-1`.
 */
export function stateReader(backend: string, project: string, stack: string): StateReader | undefined {
    const path = join(".pulumi", "stacks", project, `${stack}.json`);
    const folder = folderOf(backend);
    if (folder !== undefined) return async () => parse(await missingAsUndefined(readFile(join(folder, path))));
    if (!backend.startsWith("s3://")) return undefined;
    const { bucket, folder: prefix, options } = bucketOf(backend);
    const s3 = new S3Client({ maxAttempts: 2, requestHandler: { requestTimeout: 10_000 }, ...options });
    return async () => {
        const got = missingAsUndefined(s3.send(new GetObjectCommand({ Bucket: bucket, Key: prefix + path })));
        const bytes = await (await got)?.Body?.transformToByteArray();
        return parse(bytes);
    };
}

/** A compressed state has another name, so it counts as missing. */
async function missingAsUndefined<T>(read: Promise<T>): Promise<T | undefined> {
    return read.catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT" || error.name === "NoSuchKey") return undefined;
        throw error;
    });
}

function parse(bytes: Uint8Array | undefined): StateFile | undefined {
    if (!bytes) return undefined;
    const { version, checkpoint } = JSON.parse(Buffer.from(bytes).toString("utf8")) as Checkpoint;
    if (version !== VERSION || !checkpoint?.latest) return undefined;
    return { deployment: checkpoint.latest, version: createHash("sha256").update(bytes).digest("hex").slice(0, 16) };
}
