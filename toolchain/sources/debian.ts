/** Packages of Debian and Ubuntu, used without installing them: no root is needed and no service is started. */

import * as fs from "node:fs";
import * as path from "node:path";
import { requireFreeSpace } from "../cache";
import { SourceError } from "../errors";
import type { DebianSource } from "../manifest";
import { findOnPath, lastLines, type RunResult, run } from "../processes";
import type { Job, Origin } from "./job";

/** Milliseconds that fetching package lists, or packages, may take. */
const APT_MS = 5 * 60_000;

/** Seconds of silence after which apt gives up on a server. */
const APT_STALL_SECONDS = 10;

/**
 * Unpacks a package and its missing libraries, and writes a script that starts the program with them. apt checks the
 * packages against the distribution's signed lists.
 *
 * @throws SourceError when this is not Debian or Ubuntu, or apt cannot get the packages.
 */
export async function fromDebian(job: Job, source: DebianSource): Promise<Origin> {
    const absent = ["apt-get", "dpkg-deb"].filter((command) => !findOnPath(command));
    if (absent.length > 0) throw new SourceError(`this is not Debian or Ubuntu (no ${absent.join(", no ")})`);
    requireFreeSpace(job.root, source.diskBytes);

    const downloads = path.join(job.directory, "packages");
    fs.mkdirSync(downloads);
    const packages = await fetchPackages(job, source, downloads);

    const root = path.join(job.directory, "root");
    for (const file of packages)
        await command(job, ["dpkg-deb", "-x", path.join(downloads, file), root], "cannot be unpacked");
    fs.rmSync(downloads, { recursive: true });

    const script = path.join(job.directory, "bin", job.spec.name);
    fs.writeFileSync(script, startScript(source.executable), { mode: 0o755 });
    return { from: packages.join(" ") };
}

/** Starts the unpacked program, also through a link, with the unpacked libraries first. */
function startScript(executable: string): string {
    return `#!/bin/sh
libraries=
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
for directory in "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu* "$root"/usr/lib; do
    [ -d "$directory" ] && libraries=\${libraries:+$libraries:}$directory
done
LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$root/${executable}" "$@"
`;
}

/** Downloads the package and its missing libraries; the names of the files. */
async function fetchPackages(job: Job, source: DebianSource, directory: string): Promise<string[]> {
    try {
        return await fetchWith(job, source, directory, []);
    } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        job.progress(`${error.message}; fetching the distribution's package lists`);
    }
    // The lists are missing or outdated. Separate ones need no root and do not change the system.
    const state = path.join(directory, "apt");
    fs.mkdirSync(path.join(state, "lists", "partial"), { recursive: true });
    fs.mkdirSync(path.join(state, "cache", "archives", "partial"), { recursive: true });
    const options = [`Dir::State::Lists=${state}/lists`, `Dir::Cache=${state}/cache`];
    await command(job, apt(options, "update"), "apt-get update failed");
    return await fetchWith(job, source, directory, options);
}

async function fetchWith(job: Job, source: DebianSource, directory: string, options: string[]): Promise<string[]> {
    const simulated = await command(
        job,
        apt(options, "install", "--simulate", "--no-install-recommends", source.package),
        `apt-get knows no package ${source.package}`,
    );
    // `Inst name (version …`, and with `[old version]` before the parenthesis when it is an upgrade.
    const names = [...simulated.stdout.matchAll(/^Inst (\S+) \(/gm)].map((match) => match[1] as string);
    // If the package itself is installed, in another version or place, apt does not list it.
    const wanted = [...new Set([source.package, ...names])];
    job.progress(`downloading ${wanted.join(", ")} with apt-get`);
    await command(job, apt(options, "download", ...wanted), "apt-get download failed", directory);
    const files = fs.readdirSync(directory).filter((file) => file.endsWith(".deb"));
    if (files.length === 0) throw new SourceError("apt-get downloaded nothing");
    return files.sort();
}

/** An apt-get command line. The sandbox user is switched off because it cannot write below a home directory. */
function apt(options: readonly string[], ...args: readonly string[]): string[] {
    const always = [
        "APT::Sandbox::User=root",
        `Acquire::http::Timeout=${APT_STALL_SECONDS}`,
        `Acquire::https::Timeout=${APT_STALL_SECONDS}`,
        "Acquire::Retries=1",
        "APT::Update::Error-Mode=any",
    ];
    return ["apt-get", "-q", ...[...always, ...options].flatMap((option) => ["-o", option]), ...args];
}

async function command(job: Job, argv: readonly string[], problem: string, cwd = job.directory): Promise<RunResult> {
    const result = await run(argv, {
        cwd,
        signal: job.signal,
        timeoutMs: APT_MS,
        env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
    });
    if (result.code !== 0) throw new SourceError(`${problem}: ${lastLines(result.output, 2)}`);
    return result;
}
