import { createHash } from "node:crypto";
import { cpSync, createReadStream, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import * as tar from "tar";
import { gatewayHome } from "../../lib/home";
import { DEADLINES, download } from "../../toolchain/download";

/** An archive (tar.gz) and its checksum. */
export interface Archive {
    /** http, https or file. */
    readonly url: string;
    readonly sha256: string;
}

/** The folder of an archive's content, whether it is there yet or not. */
export function archiveDirectory({ sha256 }: Archive): string {
    return join(gatewayHome().root, "archives", sha256.toLowerCase());
}

/**
 * Downloads, checks and unpacks an archive, unless it is there already.
 *
 * @throws Error if it is not available or does not have its checksum.
 */
export async function fetchArchive(archive: Archive): Promise<void> {
    const directory = archiveDirectory(archive);
    if (existsSync(directory)) return;
    const work = `${directory}.${process.pid}.tmp`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(join(work, "content"), { recursive: true, mode: 0o700 });
    try {
        const file = join(work, "archive");
        const sha256 = await transfer(new URL(archive.url), file);
        if (sha256 !== archive.sha256.toLowerCase()) {
            throw new Error(`${archive.url} has the SHA-256 ${sha256}, not ${archive.sha256} as gateway:service says`);
        }
        await tar.extract({ file, cwd: join(work, "content") });
        // Atomically: another machine may be fetching the same archive.
        if (!existsSync(directory)) renameSync(join(work, "content"), directory);
    } finally {
        rmSync(work, { recursive: true, force: true });
    }
}

async function transfer(url: URL, file: string): Promise<string> {
    if (url.protocol !== "file:") return (await download(url, file, { deadlines: DEADLINES }, () => undefined)).sha256;
    cpSync(fileURLToPath(url), file);
    const hash = createHash("sha256");
    await pipeline(createReadStream(file), hash);
    return hash.digest("hex");
}
