/** The image of all machines. It is built once and kept outside the checkout. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { withLock } from "../../lib/locks";
import { requireFreeSpace, sweepTemporaries, temporaryDirectory } from "../../toolchain/cache";
import { findOnPath } from "../../toolchain/processes";
import { command } from "./command";

/** Programs that the tool runs, and the packages that provide them. */
const PROGRAMS: Readonly<Record<string, string>> = {
    "systemd-nspawn": "systemd-container",
    debootstrap: "debootstrap",
    ip: "iproute2",
    "mkfs.ext4": "e2fsprogs",
    nsenter: "util-linux",
    python3: "python3",
    setpriv: "util-linux",
    unshare: "util-linux",
};
/** The recipe. Its content is part of the image's name. */
const RECIPE = join(__dirname, "image", "build.sh");
/** Deadlines for installing packages and for building, milliseconds. A build takes about a minute and a half. */
const [INSTALL_TIMEOUT, BUILD_TIMEOUT] = [1_200_000, 1_200_000];
/** The space that a build needs at its peak, bytes. The image has 600 MB. */
const BUILD_BYTES = 1_000_000_000;

/**
 * Why this computer cannot boot machines at all; undefined if it can. Missing packages do not count, because they can
 * be installed.
 */
export function whyNoMachines(): string | undefined {
    if (process.platform !== "linux") return "machines are containers, which only Linux has";
    if (process.getuid?.() !== 0) return "booting machines takes root";
    const absent = missingPackages();
    if (absent.length === 0) {
        // Root in a container may have no more rights than an ordinary user.
        const { status, stderr } = spawnSync("unshare", ["--net", "--mount", "--pid", "--fork", "true"]);
        if (status !== 0) return `root cannot create namespaces here: ${stderr.toString().trim()}`;
    }
    if (absent.length > 0 && !findOnPath("apt-get"))
        return `missing, and there is no apt-get to install them: ${absent.join(", ")}`;
    return undefined;
}

function missingPackages(): string[] {
    const absent = Object.keys(PROGRAMS).filter((program) => !findOnPath(program));
    return [...new Set(absent.map((program) => PROGRAMS[program] as string))];
}

/** The folder of images: `$GATEWAY_HOSTS_CACHE`, or `gateway-hosts` below `$XDG_CACHE_HOME` (default `~/.cache`). */
export function imageCache(environment: NodeJS.ProcessEnv = process.env): string {
    if (environment.GATEWAY_HOSTS_CACHE) return resolve(environment.GATEWAY_HOSTS_CACHE);
    return join(resolve(environment.XDG_CACHE_HOME || join(homedir(), ".cache")), "gateway-hosts");
}

/**
 * The image's folder, whether it exists or not. Another recipe, or another release of the computer's distribution,
 * gives another image.
 */
export function imagePath(): string {
    const release = /^(ID|VERSION_ID)=.*$/gm;
    const distribution = readFileSync("/etc/os-release", "utf8").match(release)?.sort().join(" ") ?? "";
    const recipe = readFileSync(RECIPE);
    const key = createHash("sha256").update(recipe).update(distribution).update(process.arch).digest("hex");
    return join(imageCache(), key.slice(0, 12));
}

/**
 * Builds the image if it does not exist, and installs what the build and the machines need. The image gets its name
 * once it is complete. Other processes that want it wait. A build that was killed leaves only a folder, which the next
 * one removes.
 *
 * @param say receives messages about the progress.
 * @returns its folder.
 * @throws Error that says what failed.
 */
export async function ensureImage(say: (line: string) => void = () => undefined): Promise<string> {
    const reason = whyNoMachines();
    if (reason) throw new Error(reason);
    const cache = imageCache();
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which builds the image`);
    return await withLock(join(cache, "image", ".lock"), { onWait }, async () => {
        await installPackages(say);
        const image = imagePath();
        if (existsSync(image)) return image;
        sweepTemporaries(cache);
        requireFreeSpace(cache, BUILD_BYTES);
        await build(image, say);
        return image;
    });
}

/**
 * Runs apt-get, one at a time: suites that run side by side install packages of their own.
 *
 * @param cwd the folder to run it in. Default: that of this process.
 * @throws Error with its last words when it fails.
 */
export async function aptGet(args: readonly string[], cwd?: string): Promise<void> {
    // What else runs apt-get on this computer may hold dpkg's own lock.
    const always = ["-q", "-y", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"];
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const options = { env, timeoutMs: INSTALL_TIMEOUT, ...(cwd && { cwd }) };
    await withLock(join(imageCache(), "apt", ".lock"), {}, () =>
        command(["apt-get", ...always, ...args], options, `apt-get ${args[0]}`),
    );
}

async function installPackages(say: (line: string) => void): Promise<void> {
    const absent = missingPackages();
    if (absent.length === 0) return;
    say(`installing ${absent.join(", ")}`);
    await aptGet(["update"]);
    await aptGet(["install", "--no-install-recommends", ...absent]);
}

async function build(image: string, say: (line: string) => void): Promise<void> {
    say(`building the image ${image}, once; it takes two minutes`);
    const startedAt = Date.now();
    const work = temporaryDirectory(imageCache(), "image");
    try {
        const root = join(work, "root");
        mkdirSync(root);
        // Its mounts and processes end with it, even if it is killed.
        const alone = [
            "unshare",
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        await command([...alone, "sh", RECIPE, root], { timeoutMs: BUILD_TIMEOUT });
        chmodSync(root, 0o755);
        await command(["sync", "-f", root]);
        renameSync(root, image);
    } finally {
        rmSync(work, { recursive: true, force: true });
    }
    say(`built it in ${Math.round((Date.now() - startedAt) / 1000)} s`);
}
