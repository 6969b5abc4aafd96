/**
 * Gets what the machine runs: programs, archives and packages of the distribution. What is there and correct is left
 * alone.
 */
import { createHash } from "node:crypto";
import {
    accessSync,
    chmodSync,
    closeSync,
    constants,
    copyFileSync,
    createReadStream,
    existsSync,
    fsyncSync,
    mkdirSync,
    openSync,
    readlinkSync,
    renameSync,
    rmSync,
    symlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as tar from "tar";
import { DEADLINES, download } from "../../toolchain/download";
import { atLeast } from "../../toolchain/manifest";
import type { CloudBinary, CloudMachine } from "./description";
import { onDisk, type System, syncFolder } from "./system";

/**
 * Pauses before a file's addresses are tried again, milliseconds. After the last one systemd restarts the whole
 * program.
 */
const PAUSES = [500, 2_000, 5_000] as const;

/** A program that is no file of ours. */
type Package = Extract<CloudBinary, { kind: "package" }>;
/** A program or archive of ours. */
type Fetched = Exclude<CloudBinary, Package>;

/**
 * Gets one binary.
 *
 * @throws Error if it is not available, does not have its checksum, or is too old.
 */
export function ensureBinary(
    system: System,
    machine: Pick<CloudMachine, "directories">,
    binary: CloudBinary,
): Promise<void> {
    const { bin } = machine.directories;
    switch (binary.kind) {
        case "package":
            return ensurePackage(system, bin, binary);
        case "file":
            return ensureFile(system, bin, binary);
        case "archive":
            return ensureArchive(system, bin, binary);
    }
}

async function ensureFile(system: System, bin: string, binary: Fetched): Promise<void> {
    const path = onDisk(system, join(bin, binary.name));
    if (isExecutable(path) && (binary.sha256 === undefined || (await sha256Of(path)) === binary.sha256)) return;
    if (binary.urls.length === 0) {
        throw new Error(`the image lacks ${join(bin, binary.name)}, or has another version: see docs/images.md`);
    }
    await fetchChecked(system, binary, `${path}.part`);
    chmodSync(`${path}.part`, 0o755);
    renameDurably(`${path}.part`, path);
}

async function ensureArchive(system: System, bin: string, archive: Fetched): Promise<void> {
    const { sha256 = "" } = archive;
    const link = onDisk(system, join(bin, archive.name));
    const content = join(dirname(bin), "archives", sha256);
    const folder = onDisk(system, content);
    if (!existsSync(folder)) {
        if (archive.urls.length === 0) throw new Error(`there is no address to get ${archive.name} from`);
        const work = `${folder}.part`;
        rmSync(work, { recursive: true, force: true });
        mkdirSync(join(work, "content"), { recursive: true });
        await fetchChecked(system, archive, join(work, "archive"));
        // The archive's owners are those of whoever packed it.
        await tar.extract({ file: join(work, "archive"), cwd: join(work, "content"), preserveOwner: false });
        // Before it gets the name that says that it is complete.
        await system.run("sync", ["-f", work]);
        renameDurably(join(work, "content"), folder);
        rmSync(work, { recursive: true, force: true });
    }
    putLink(link, content);
}

async function ensurePackage(system: System, bin: string, binary: Package): Promise<void> {
    // This project runs it in a unit of its own, and installing the package must not start the distribution's.
    await system.run("systemctl", ["mask", `${binary.package}.service`]);
    const found = () => {
        const paths = [`/usr/sbin/${binary.package}`, `/usr/bin/${binary.package}`];
        return paths.find((path) => isExecutable(onDisk(system, path)));
    };
    if (!found()) await install(system, binary.package);
    const path = found();
    if (!path) throw new Error(`the package ${binary.package} has no program ${binary.package}`);
    if (binary.lowest === undefined) return putLink(onDisk(system, join(bin, binary.name)), path);
    const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(await system.run(path, ["-v"]))?.[1] ?? "none";
    if (!atLeast(version, binary.lowest)) {
        throw new Error(`the distribution's ${binary.package} is ${version}; it takes ${binary.lowest} or later`);
    }
    const link = onDisk(system, join(bin, binary.name));
    putLink(link, path);
}

/** Creates or corrects a symbolic link. */
function putLink(link: string, target: string): void {
    if (linkTarget(link) === target) return;
    mkdirSync(dirname(link), { recursive: true });
    rmSync(`${link}.part`, { force: true });
    symlinkSync(target, `${link}.part`);
    renameSync(`${link}.part`, link);
    syncFolder(dirname(link));
}

async function install(system: System, name: string): Promise<void> {
    system.say(`installing ${name}`);
    if (existsSync(onDisk(system, "/usr/bin/apt-get"))) {
        const wait = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"];
        // A run that was killed leaves packages half-installed.
        await system.run("dpkg", ["--configure", "-a"]);
        await system.run("apt-get", [...wait, "-q", "update"]);
        await system.run("apt-get", [...wait, "-q", "install", "-y", "--no-install-recommends", name]);
        return;
    }
    await system.run("dnf", ["-q", "-y", "install", name]);
}

async function fetchChecked(system: System, binary: Fetched, file: string): Promise<void> {
    mkdirSync(dirname(file), { recursive: true });
    let reasons: string[] = [];
    for (const pause of [0, ...PAUSES]) {
        if (pause > 0) await delay(pause);
        reasons = [];
        let mayPass = false;
        for (const url of binary.urls) {
            try {
                const sha256 = await transfer(new URL(url), file);
                if (sha256 === binary.sha256) {
                    system.say(`got ${binary.name} from ${url}`);
                    return;
                }
                reasons.push(`${url} has the SHA-256 ${sha256}, not ${binary.sha256}`);
            } catch (error) {
                mayPass = true;
                reasons.push(`${url}: ${(error as Error).message}`);
            }
            rmSync(file, { force: true });
        }
        if (!mayPass) break;
    }
    throw new Error(`${binary.name} cannot be had: ${reasons.join("; ")}`);
}

/** Gets a file. @returns its SHA-256. */
async function transfer(url: URL, file: string): Promise<string> {
    if (url.protocol !== "file:") return (await download(url, file, { deadlines: DEADLINES }, () => undefined)).sha256;
    copyFileSync(fileURLToPath(url), file);
    return sha256Of(file);
}

/** Renames durably: after a power loss the new name has the whole content, or does not exist. */
function renameDurably(from: string, to: string): void {
    const handle = openSync(from, "r");
    try {
        fsyncSync(handle);
    } finally {
        closeSync(handle);
    }
    renameSync(from, to);
    syncFolder(dirname(to));
}

function linkTarget(path: string): string | undefined {
    try {
        return readlinkSync(path);
    } catch {
        return undefined;
    }
}

function isExecutable(path: string): boolean {
    try {
        accessSync(path, constants.X_OK);
        return true;
    } catch {
        return false;
    }
}

/** A file's SHA-256, in hex. */
export async function sha256Of(path: string): Promise<string> {
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    return hash.digest("hex");
}
