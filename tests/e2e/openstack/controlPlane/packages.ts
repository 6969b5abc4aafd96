/** The control plane's programs: Debian's packages, of its release "Zed". */
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findOnPath, run } from "../../../../scripts/tools/processes";

/** Packages of libraries and programs. Those of services would set up databases and units of their own. */
const PACKAGES = [
    "python3-keystone",
    "python3-glance",
    "python3-placement",
    "python3-nova",
    "python3-neutron",
    "python3-octavia",
    "python3-openstackclient",
    "rabbitmq-server",
    "mariadb-server-core",
    "mariadb-client-core",
    "uwsgi-plugin-python3",
    "curl",
];

/** Only the packages of services have these: they are taken out without being installed. */
const PASTE = [
    { package: "nova-common", from: "usr/share/nova-common/api-paste.ini", to: "nova-paste.ini" },
    { package: "neutron-common", from: "usr/share/neutron-common/api-paste.ini", to: "neutron-paste.ini" },
    { package: "glance-common", from: "usr/share/glance-common/glance-api-paste.ini", to: "glance-paste.ini" },
];

const APT = ["-q", "-y", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"];
const MINUTES_20 = 20 * 60_000;

async function installed(name: string): Promise<boolean> {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own notation
    const { stdout } = await run(["dpkg-query", "-W", "-f=${db:Status-Abbrev}", name], { timeoutMs: 10_000 });
    return stdout.startsWith("ii");
}

async function missingPackages(): Promise<string[]> {
    const missing: string[] = [];
    for (const name of PACKAGES) if (!(await installed(name))) missing.push(name);
    return missing;
}

/** Whether all is there. */
export async function packagesInstalled(etc: string): Promise<boolean> {
    if (!findOnPath("dpkg-query")) return false;
    return PASTE.every(({ to }) => existsSync(join(etc, to))) && (await missingPackages()).length === 0;
}

async function apt(args: readonly string[], cwd?: string): Promise<void> {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const { code, output } = await run(["apt-get", ...APT, ...args], {
        env,
        timeoutMs: MINUTES_20,
        ...(cwd && { cwd }),
    });
    if (code !== 0) throw new Error(`apt-get ${args[0]}: ${output.trimEnd().split("\n").slice(-5).join("\n")}`);
}

/**
 * Installs what is missing, without starting anything, and puts the services' pipelines into `etc`.
 *
 * @throws Error when a package cannot be had.
 */
export async function ensurePackages(etc: string, say: (line: string) => void): Promise<void> {
    const missing = await missingPackages();
    if (missing.length > 0) {
        say(`installing ${missing.join(", ")}`);
        await withoutServices(async () => {
            await apt(["update"]);
            await apt(["install", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", ...missing]);
        });
    }
    if (PASTE.every(({ to }) => existsSync(join(etc, to)))) return;
    const work = mkdtempSync(join(tmpdir(), "gateway-packages-"));
    try {
        // apt downloads as a user of its own.
        chmodSync(work, 0o777);
        await apt(["download", ...PASTE.map((each) => each.package)], work);
        for (const file of readdirSync(work).filter((name) => name.endsWith(".deb"))) {
            const { code, output } = await run(["dpkg", "-x", join(work, file), join(work, "content")], {
                timeoutMs: 60_000,
            });
            if (code !== 0) throw new Error(`dpkg -x ${file}: ${output}`);
        }
        mkdirSync(etc, { recursive: true });
        for (const { from, to } of PASTE) cpSync(join(work, "content", from), join(etc, to));
    } finally {
        rmSync(work, { recursive: true, force: true });
    }
}

/** Has Debian start no service that it installs meanwhile. */
async function withoutServices(work: () => Promise<void>): Promise<void> {
    const policy = "/usr/sbin/policy-rc.d";
    const own = !existsSync(policy);
    if (own) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    try {
        await work();
    } finally {
        if (own) rmSync(policy, { force: true });
    }
}
