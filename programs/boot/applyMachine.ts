/**
 * Sets up a machine from its user data. Each step checks first and changes only what differs, atomically, so the
 * program can be killed at any point and run again at any boot.
 */
import { existsSync, readFileSync } from "node:fs";
import { type InstanceFact, resolveInstance, resolveSecrets, secretRefs } from "../machine";
import { ensureBinary } from "./binaries";
import { type CloudMachine, instanceFacts } from "./description";
import { type Identity, readIdentity } from "./identity";
import { readSecrets } from "./secrets";
import { onDisk, putFile, type System } from "./system";
import { servicesGroup } from "./units";

/** Where facts and secrets come from, for tests. */
export interface Sources {
    readonly identity: (system: System, source: CloudMachine["identity"]) => Promise<Identity>;
    readonly secrets: typeof readSecrets;
}

/** Where systemd looks for units. */
const UNITS = "/etc/systemd/system";

/**
 * Sets up the machine and starts its services, without waiting for them.
 *
 * @throws Error with what could not be done. Completed steps stay and are not repeated.
 */
export async function applyMachine(
    system: System,
    machine: CloudMachine,
    sources: Sources = { identity: readIdentity, secrets: readSecrets },
): Promise<void> {
    const { directories } = machine;
    // Packages bring users of their own.
    const byPackage = (binary: CloudMachine["binaries"][number]) => (binary.kind === "package" ? 0 : 1);
    for (const binary of [...machine.binaries].sort((a, b) => byPackage(a) - byPackage(b))) {
        await ensureBinary(system, machine, binary);
    }
    await ensureUsers(system, machine.users);
    await system.run("systemd-tmpfiles", ["--create", "--prefix", directories.lib, "--prefix", directories.run]);

    const needed = instanceFacts(machine);
    const facts = needed.length > 0 ? await sources.identity(system, machine.identity) : {};
    const names = [...new Set(machine.files.flatMap((file) => secretRefs(file.content)))];
    const secrets = await sources.secrets(machine.secrets, names, system, directories.etc);
    const changed = [...putFiles(system, machine, facts, secrets), ...putUnits(system, machine, facts)];
    if (changed.length > 0) {
        system.say(`wrote ${changed.join(", ")}`);
        await system.run("systemctl", ["daemon-reload"]);
    }
    const units = machine.units.map(({ name }) => name);
    await system.run("systemctl", ["enable", "--quiet", ...units]);
    // They wait for this program to end; see their After=.
    await system.run("systemctl", ["start", "--no-block", ...units]);
}

async function ensureUsers(system: System, users: readonly string[]): Promise<void> {
    await system.run("groupadd", ["--system", "--force", servicesGroup]);
    const ids = accounts(system, "/etc/passwd");
    for (const user of users) {
        if (!ids.has(user)) {
            const home = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"];
            await system.run("useradd", ["--system", "--user-group", ...home, user]);
        }
        await system.run("usermod", ["--append", "--groups", servicesGroup, user]);
    }
}

/** The numeric ids of a user and its group, from `passwd(5)`. */
function accounts(system: System, path: string): Map<string, { uid: number; gid: number }> {
    if (!existsSync(onDisk(system, path))) return new Map();
    const rows = readFileSync(onDisk(system, path), "utf8").split("\n");
    return new Map(
        rows
            .map((row) => row.split(":"))
            .map(([name = "", , uid, gid]) => [name, { uid: Number(uid), gid: Number(gid) }]),
    );
}

function putFiles(
    system: System,
    machine: CloudMachine,
    facts: Partial<Record<InstanceFact, string>>,
    secrets: Readonly<Record<string, string>>,
): string[] {
    const users = accounts(system, "/etc/passwd");
    return machine.files
        .filter((file) => {
            const owner = users.get(file.owner);
            if (!owner) throw new Error(`the owner of ${file.path}, ${file.owner}, does not exist`);
            // Resolve secrets last: their values may contain anything.
            const content = resolveSecrets(resolveInstance(file.content, facts), secrets);
            return putFile(system, { path: file.path, content, mode: file.mode, ...owner });
        })
        .map(({ path }) => path);
}

function putUnits(system: System, machine: CloudMachine, facts: Partial<Record<InstanceFact, string>>): string[] {
    const { uid, gid } = accounts(system, "/etc/passwd").get("root") ?? { uid: 0, gid: 0 };
    return machine.units
        .filter(({ name, content }) =>
            putFile(system, {
                path: `${UNITS}/${name}`,
                content: resolveInstance(content, facts),
                mode: 0o644,
                uid,
                gid,
            }),
        )
        .map(({ name }) => name);
}
