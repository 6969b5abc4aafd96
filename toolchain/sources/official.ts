/** The archives that the vendors publish. */

import * as fs from "node:fs";
import * as path from "node:path";
import { unzip } from "fflate";
import * as tar from "tar";
import { requireFreeSpace } from "../cache";
import { download, fetchText, isUnreachable, type TransferOptions } from "../download";
import { reasonOf, SourceError } from "../errors";
import type { OfficialSource } from "../manifest";
import type { Job, Origin } from "./job";

/** Milliseconds between two lines about a running download. */
const PROGRESS_MS = 1_000;

/**
 * The address to use for a vendor's URL: the same path below $GATEWAY_TOOLS_MIRROR when that is set.
 *
 * @throws SourceError when the mirror is not an http or https URL.
 */
export function mirrored(url: string, mirror: string | undefined = process.env.GATEWAY_TOOLS_MIRROR): URL {
    const official = new URL(url);
    if (!mirror) return official;
    if (!/^https?:\/\//.test(mirror) || !URL.canParse(mirror))
        throw new SourceError(`GATEWAY_TOOLS_MIRROR is not an http(s) URL: ${mirror}`);
    return new URL(mirror.replace(/\/+$/, "") + official.pathname);
}

/**
 * Downloads, checks and unpacks the vendor's archive.
 *
 * The archive must have the pinned SHA-256 or, where none is pinned, the one in the vendor's sums file. The cache entry
 * records the checksum and its origin.
 *
 * @throws SourceError when there is no archive for this computer, the download fails, or the checksum differs.
 */
export async function fromVendor(job: Job, source: OfficialSource): Promise<Origin> {
    if (process.platform !== "linux" || process.arch !== "x64")
        throw new SourceError(
            `only the archive for Linux x86-64 is known, this is ${process.platform} ${process.arch}`,
        );
    const url = mirrored(source.url);
    const archive = path.join(job.directory, "archive");
    requireFreeSpace(job.root, source.diskBytes);

    const expected = source.sha256 ?? (await publishedSum(job, source, url));
    const started = Date.now();
    let told = started;
    job.progress(`downloading ${url}`);
    const { sha256, bytes } = await reach(job, url, (options) =>
        download(url, archive, options, (received, total) => {
            if (Date.now() - told < PROGRESS_MS) return;
            told = Date.now();
            const share = total ? ` of ${megabytes(total)} (${Math.floor((100 * received) / total)} %)` : "";
            job.progress(`downloading, ${megabytes(received)}${share}`);
        }),
    );
    job.progress(`downloaded ${megabytes(bytes)} in ${((Date.now() - started) / 1000).toFixed(1)} s`);

    if (sha256 !== expected) {
        fs.rmSync(archive);
        throw new SourceError(
            `the download is corrupt: SHA-256 is ${sha256}, ${expected} was expected; it was removed`,
        );
    }
    await unpack(job, source, archive);
    fs.rmSync(archive);
    return { from: url.href, sha256, checkedAgainst: source.sha256 ? "pinned" : "published" };
}

function megabytes(bytes: number): string {
    return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Runs a transfer, unless its host is known to be unreachable. Remembers unreachable hosts. */
async function reach<T>(job: Job, url: URL, action: (options: TransferOptions) => Promise<T>): Promise<T> {
    const known = job.unreachable.get(url.host);
    if (known !== undefined) throw new SourceError(known);
    try {
        // If one host was unreachable, the network is the likely cause, so the next one is not retried.
        const retry = job.unreachable.size === 0;
        return await action({ signal: job.signal, deadlines: job.deadlines, retry });
    } catch (error) {
        if (isUnreachable(error)) job.unreachable.set(url.host, reasonOf(error));
        throw error;
    }
}

/** The SHA-256 of an archive, from the first of the vendor's sums files that is available. */
async function publishedSum(job: Job, source: OfficialSource, archive: URL): Promise<string> {
    const name = path.posix.basename(archive.pathname);
    const problems: string[] = [];
    for (const sums of (source.sumsUrls ?? []).map((url) => mirrored(url))) {
        try {
            const text = await reach(job, sums, (options) => fetchText(sums, options));
            for (const line of text.split("\n")) {
                const [sum, file] = line.trim().split(/\s+\*?/);
                if (file === name && sum && /^[0-9a-f]{64}$/i.test(sum)) return sum.toLowerCase();
            }
            problems.push(`${sums} has no SHA-256 of ${name}`);
        } catch (error) {
            job.signal?.throwIfAborted();
            problems.push(reasonOf(error));
        }
    }
    throw new SourceError(`its checksum cannot be had: ${[...new Set(problems)].join("; ")}`);
}

/** Unpacks the wanted files of an archive to `bin/`, and makes them executable. */
async function unpack(job: Job, source: OfficialSource, archive: string): Promise<void> {
    job.progress("unpacking");
    const bin = path.join(job.directory, "bin");
    try {
        if (source.format === "zip") await unzipTo(bin, archive, source.wanted);
        else if (source.format === "binary") fs.copyFileSync(archive, path.join(bin, job.spec.name));
        else await untarTo(bin, archive, source.wanted);
    } catch (error) {
        throw new SourceError(`the archive cannot be unpacked: ${reasonOf(error)}`);
    }
    if (!fs.existsSync(path.join(bin, job.spec.name))) throw new SourceError(`the archive holds no ${job.spec.name}`);
    for (const name of fs.readdirSync(bin)) fs.chmodSync(path.join(bin, name), 0o755);
}

async function unzipTo(bin: string, archive: string, wanted: OfficialSource["wanted"]): Promise<void> {
    const isWanted = (name: string) => !name.endsWith("/") && wanted(path.posix.basename(name));
    const files = await new Promise<Record<string, Uint8Array>>((resolve, reject) => {
        unzip(fs.readFileSync(archive), { filter: (file) => isWanted(file.name) }, (error, unpacked) =>
            error ? reject(error) : resolve(unpacked),
        );
    });
    for (const [name, content] of Object.entries(files))
        fs.writeFileSync(path.join(bin, path.posix.basename(name)), content);
}

async function untarTo(bin: string, archive: string, wanted: OfficialSource["wanted"]): Promise<void> {
    await tar.extract({
        file: archive,
        cwd: bin,
        strict: true,
        filter: (name, entry) => "type" in entry && entry.type === "File" && wanted(path.posix.basename(name)),
        onReadEntry: (entry) => {
            entry.path = path.posix.basename(entry.path);
        },
    });
}
