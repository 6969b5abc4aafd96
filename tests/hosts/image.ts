/** The image that all machines start from: built once, and kept outside the checkout. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { requireFreeSpace, sweep, temporaryDirectory } from "../../scripts/tools/cache";
import { withLock } from "../../scripts/tools/lock";
import { findOnPath } from "../../scripts/tools/processes";
import { command } from "./command";

/** Programs that the tool runs, and the packages that have them. */
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
/** The recipe, whose content is part of the image's name. */
const RECIPE = join(__dirname, "image", "build.sh");
/** Most that installing packages, and building, may take, milliseconds. The latter takes about a minute and a half. */
const [INSTALL_TIMEOUT, BUILD_TIMEOUT] = [300_000, 1_200_000];
/** What a build needs at its height, bytes; the image has 600 MB. */
const BUILD_BYTES = 1_000_000_000;

/** Why this computer cannot boot machines at all; undefined when it can. What is only missing is installed. */
export function whyNoMachines(): string | undefined {
    if (process.platform !== "linux") return "machines are containers, which only Linux has";
    if (process.getuid?.() !== 0) return "booting machines takes root";
    const absent = missingPackages();
    if (absent.length === 0) {
        // Root of a container may have no more rights than anybody.
        const { status, stderr } = spawnSync("unshare", ["--net", "--mount", "--pid", "--fork", "true"]);
        if (status !== 0) return `root may make no namespaces here: ${stderr.toString().trim()}`;
    }
    if (absent.length > 0 && !findOnPath("apt-get"))
        return `missing, and no apt-get to install them: ${absent.join(", ")}`;
    return undefined;
}

function missingPackages(): string[] {
    const absent = Object.keys(PROGRAMS).filter((program) => !findOnPath(program));
    return [...new Set(absent.map((program) => PROGRAMS[program] as string))];
}

/** Where images are: `$GATEWAY_HOSTS_CACHE`, or `gateway-hosts` below `$XDG_CACHE_HOME` (default `~/.cache`). */
export function imageCache(environment: NodeJS.ProcessEnv = process.env): string {
    if (environment.GATEWAY_HOSTS_CACHE) return resolve(environment.GATEWAY_HOSTS_CACHE);
    return join(resolve(environment.XDG_CACHE_HOME || join(homedir(), ".cache")), "gateway-hosts");
}

/** The image's folder, there or not: another recipe, or another release of the computer's distribution, is another image. */
export function imagePath(): string {
    const release = /^(ID|VERSION_ID)=.*$/gm;
    const distribution = readFileSync("/etc/os-release", "utf8").match(release)?.sort().join(" ") ?? "";
    const recipe = readFileSync(RECIPE);
    const key = createHash("sha256").update(recipe).update(distribution).update(process.arch).digest("hex");
    return join(imageCache(), key.slice(0, 12));
}

/**
 * Builds the image, if it is not there, and installs what that and the machines need. It gets its name when it is whole;
 * whoever else wants it waits. A build that was killed leaves nothing but a folder that the next one removes.
 *
 * @param say told what is done.
 * @returns its folder.
 * @throws Error saying what could not be done.
 */
export async function ensureImage(say: (line: string) => void = () => undefined): Promise<string> {
    const reason = whyNoMachines();
    if (reason) throw new Error(reason);
    const cache = imageCache();
    const onWait = ({ pid }: { pid: number }) => say(`waiting for process ${pid}, which builds the image`);
    return await withLock(cache, "image", { onWait }, async () => {
        await installPackages(say);
        const image = imagePath();
        if (existsSync(image)) return image;
        sweep(cache);
        requireFreeSpace(cache, BUILD_BYTES);
        await build(image, say);
        return image;
    });
}

async function installPackages(say: (line: string) => void): Promise<void> {
    const absent = missingPackages();
    if (absent.length === 0) return;
    say(`installing ${absent.join(", ")}`);
    const options = { timeoutMs: INSTALL_TIMEOUT, env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
    await command(["apt-get", "-q", "update"], options);
    await command(["apt-get", "-q", "install", "-y", "--no-install-recommends", ...absent], options);
}

async function build(image: string, say: (line: string) => void): Promise<void> {
    say(`building the image ${image}, once; it takes two minutes`);
    const startedAt = Date.now();
    const work = temporaryDirectory(imageCache(), "image");
    try {
        const root = join(work, "root");
        mkdirSync(root);
        // What it mounts and starts ends with it, also when it is killed.
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
