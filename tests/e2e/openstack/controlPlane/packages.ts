/** The control plane's programs: Debian's packages, of its release "Zed". */
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findOnPath, run } from "../../../../toolchain/processes";
import { aptGet } from "../../../hosts/image";

/** Packages of libraries and programs. The services' own packages would also set up databases and units. */
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

/** Only the services' packages have these. They are extracted without an installation. */
const PASTE = [
    { package: "nova-common", from: "usr/share/nova-common/api-paste.ini", to: "nova-paste.ini" },
    { package: "neutron-common", from: "usr/share/neutron-common/api-paste.ini", to: "neutron-paste.ini" },
    { package: "glance-common", from: "usr/share/glance-common/glance-api-paste.ini", to: "glance-paste.ini" },
];

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

/** Whether all of it is installed. */
export async function packagesInstalled(etc: string): Promise<boolean> {
    if (!findOnPath("dpkg-query")) return false;
    return PASTE.every(({ to }) => existsSync(join(etc, to))) && (await missingPackages()).length === 0;
}

/**
 * Installs what is missing, without starting anything, and copies the services' pipelines into `etc`.
 *
 * @throws Error if a package cannot be downloaded.
 */
export async function ensurePackages(etc: string, say: (line: string) => void): Promise<void> {
    const missing = await missingPackages();
    if (missing.length > 0) {
        say(`installing ${missing.join(", ")}`);
        await withoutServices(async () => {
            await aptGet(["update"]);
            await aptGet(["install", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", ...missing]);
        });
    }
    if (PASTE.every(({ to }) => existsSync(join(etc, to)))) return;
    const work = mkdtempSync(join(tmpdir(), "gateway-packages-"));
    try {
        // apt downloads as a separate user.
        chmodSync(work, 0o777);
        await aptGet(["download", ...PASTE.map((each) => each.package)], work);
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

/** Keeps Debian from starting the services that it installs. */
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
