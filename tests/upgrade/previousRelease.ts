/** Gets the previous release, and this version after it, into a folder that looks like a user's checkout. */
import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";

/** Tag or commit of the release that users update from. Set it anew after each release. No other code names it. */
export const previousRelease = "8d43249ece85491e9980fcc45793abc053735554";

const CHECKOUT = resolve(__dirname, "../..");
const run = promisify(execFile);

/** Why the previous release cannot be had; undefined when it can. */
export async function missingRelease(): Promise<string | undefined> {
    const git = (...argv: string[]) => run("git", argv, { cwd: CHECKOUT }).then(({ stdout }) => stdout.trim());
    try {
        await git("rev-parse", "--git-dir");
    } catch {
        return `this folder is no git checkout, which could give the previous release, ${previousRelease}`;
    }
    try {
        await git("cat-file", "-e", `${previousRelease}^{commit}`);
        return undefined;
    } catch {
        const shallow = (await git("rev-parse", "--is-shallow-repository")) === "true";
        return `git's history does not hold the previous release, ${previousRelease}${shallow ? ": this clone is shallow (git fetch --unshallow)" : ""}`;
    }
}

/** Unpacks the previous release into a folder, with the packages that its lock file names. */
export async function unpackPrevious(folder: string): Promise<void> {
    mkdirSync(folder, { recursive: true });
    const archive = join(dirname(folder), `${previousRelease}.tar`);
    await run("git", ["archive", "--output", archive, previousRelease], { cwd: CHECKOUT });
    await run("tar", ["-xf", archive, "-C", folder]);
    rmSync(archive);
    await link(await packagesOf(folder), join(folder, "node_modules"));
}

/** Turns the previous release's folder into this version, as `git pull && npm ci` would. `.gateway` stays, as git ignores it. */
export async function turnIntoThisVersion(folder: string): Promise<void> {
    for (const name of readdirSync(folder)) {
        if (name !== ".gateway") rmSync(join(folder, name), { recursive: true });
    }
    const argv = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    const { stdout } = await run("git", argv, { cwd: CHECKOUT, maxBuffer: 2 ** 26 });
    for (const file of stdout.split("\0")) {
        // What was deleted and not committed is still listed.
        if (file && existsSync(join(CHECKOUT, file))) cpSync(join(CHECKOUT, file), join(folder, file));
    }
    await link(join(CHECKOUT, "node_modules"), join(folder, "node_modules"));
}

/** A folder that stays from one run to the next. */
function cacheFolder(name: string): string {
    return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "gateway-upgrade", name);
}

/** Installs the packages of a release's lock file, once for each content of that file. @returns their folder. */
async function packagesOf(release: string): Promise<string> {
    const cache = cacheFolder("packages");
    const key = createHash("sha256")
        .update(readFileSync(join(release, "package-lock.json")))
        .digest("hex")
        .slice(0, 16);
    const packages = join(cache, key, "node_modules");
    if (existsSync(packages)) return packages;
    const work = join(cache, `.${randomUUID()}`);
    try {
        mkdirSync(work, { recursive: true });
        for (const file of ["package.json", "package-lock.json", ".npmrc"]) {
            if (existsSync(join(release, file))) cpSync(join(release, file), join(work, file));
        }
        await run("npm", ["ci"], { cwd: work, env: userEnvironment(), maxBuffer: 2 ** 26 });
        // Nobody needs the packages of an older release any more.
        for (const name of readdirSync(cache)) {
            if (!name.startsWith(".")) rmSync(join(cache, name), { recursive: true, force: true });
        }
        renameSync(work, join(cache, key));
    } finally {
        rmSync(work, { recursive: true, force: true });
    }
    return packages;
}

/** Copies a folder with hard links to its files. On another file system, it copies their content. */
async function link(from: string, to: string): Promise<void> {
    await run("cp", ["-al", from, to]).catch(async () => {
        rmSync(to, { recursive: true, force: true });
        await run("cp", ["-a", from, to]);
    });
}

/**
 * The environment of a user's shell. It lacks what npm and the test's own run have added, so that each version runs with its own
 * packages, its own Node and its own `.gateway`.
 */
export function userEnvironment(): NodeJS.ProcessEnv {
    const path = (process.env.PATH ?? "").split(":").filter((each) => !each.includes("node_modules"));
    const known = Object.entries(process.env).filter(
        ([key]) => !/^(npm_|NODE_OPTIONS$|INIT_CWD$|GATEWAY_HOME$|PULUMI_(BACKEND_URL|CONFIG_|OPTION_))/.test(key),
    );
    return { ...Object.fromEntries(known), PATH: path.join(":") };
}

/**
 * The same for the previous release. It takes this version's tools where they are of the versions that it wants: building its
 * own from source would take a quarter of an hour. What it gets by itself is kept apart.
 *
 * @param tools paths of executables.
 */
export function previousEnvironment(tools: readonly string[]): NodeJS.ProcessEnv {
    const environment = userEnvironment();
    const path = [...tools.map((tool) => dirname(tool)), environment.PATH].join(":");
    return { ...environment, PATH: path, GATEWAY_TOOLS: cacheFolder("tools") };
}
