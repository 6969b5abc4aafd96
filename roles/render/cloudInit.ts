/**
 * A role rendered for a real machine: user data for cloud-init, on EC2, OpenStack and NoCloud alike. Pure.
 *
 * The user data describes the machine ({@link CloudMachine}) and how to get Node and the boot program, which does the
 * rest (`programs/boot`). It holds no secret, only where to find each one. Nothing in it changes by itself, so an
 * unchanged program previews as no change.
 */

import { gzipSync } from "fflate";
import { stringify } from "yaml";
import type {
    ArtifactManifest,
    CloudBinary,
    CloudMachine,
    IdentitySource,
    SecretSource,
} from "../../programs/boot/description";
import { bootUnit, readyUnit } from "../../programs/boot/units";
import { type Binary, type Layout, type RoleFile, type Service, secretRefs } from "../../programs/machine";
import { machineArchitecture, pinnedNode } from "../../toolchain/node";
import { nodeBinary } from "../node";
import type { Role } from "../role";
import { inOrder } from "./process";
import { journalLimits, kernelSettings, renderUnit, sharedFolders, unitFile } from "./systemd";

/** The most user data that EC2 takes, bytes, before base64. */
export const userDataLimit = 16 * 1024;

/** Where a machine gets its binaries. */
export type ArtifactSource =
    /** Fetched from `BASE/SHA256/NAME` and checked, so the server need not be trusted. */
    | { readonly kind: "url"; readonly base: string; readonly manifest: ArtifactManifest }
    /** The image holds them at the same paths; see `docs/images.md`. */
    | { readonly kind: "prebaked" };

/** What {@link renderCloudInit} needs. */
export interface CloudInitArgs {
    readonly role: Role;
    readonly layout: Layout;
    readonly artifacts: ArtifactSource;
    readonly secrets: SecretSource;
    /** Default `cloud-init`. Used only if the role refers to the instance. */
    readonly identity?: IdentitySource;
    /** The bundled boot program. */
    readonly boot: { readonly file: string; readonly sha256: string };
}

/** A role as user data. */
export interface CloudInit {
    /** Compressed with gzip, in base64: what EC2's API wants. cloud-init unpacks it by itself. */
    readonly userData: string;
    /** Its size before base64, which is what {@link userDataLimit} limits. */
    readonly bytes: number;
    /** The machine that the user data describes. */
    readonly machine: CloudMachine;
    /** Names of the secrets that the machine reads, sorted: its cloud role must allow them. */
    readonly secretNames: readonly string[];
}

/** The name of Node, as an artifact and as a binary. */
const NODE = nodeBinary.name;
/** The boot program's name below `bin`. */
const BOOT = "boot.cjs";
/** Seconds after which the journal names the services that are not ready. The wait goes on. */
const READY_SECONDS = 300;
/** Where systemd looks for units. */
const UNITS = "/etc/systemd/system";

/**
 * Renders a role to user data.
 *
 * @throws Error if the user data is larger than EC2 allows, if the artifacts' manifest lacks a binary (the message
 *         names the remedy), or if the role does not fit a real machine, which is a mistake in this project.
 */
export function renderCloudInit(args: CloudInitArgs): CloudInit {
    const machine = cloudMachine(args);
    const text = cloudConfig(machine, args.role.sysctls, args.layout);
    // Not zlib, whose output differs between processors. No modification time either.
    const bytes = gzipSync(Buffer.from(text), { level: 9, mtime: 0 });
    if (bytes.length > userDataLimit) {
        throw new Error(
            `the user data of ${args.layout.machine} has ${bytes.length} bytes, and EC2 takes ${userDataLimit}: ` +
                "shorten gateway:service's command line and environment",
        );
    }
    const secretNames = [...new Set(machine.files.flatMap((file) => secretRefs(file.content)))].sort();
    return { userData: Buffer.from(bytes).toString("base64"), bytes: bytes.length, machine, secretNames };
}

function cloudMachine({
    role,
    layout,
    artifacts,
    secrets,
    identity = "cloud-init",
    boot,
}: CloudInitArgs): CloudMachine {
    const files = role.files.map((file) => ownedFile(file, role, layout));
    const refers = files.some((file) => secretRefs(file.content).length > 0);
    if (refers && secrets.kind === "none")
        throw new Error(`${layout.machine} needs secrets, and has no source of them`);
    const programs: Binary[] = [
        ...role.binaries.filter(({ name }) => name !== NODE && name !== BOOT),
        nodeBinary,
        { name: BOOT, source: { kind: "bundle", ...boot } },
    ];
    return {
        name: layout.machine,
        role: role.name,
        directories: { etc: layout.etc, lib: layout.lib, run: layout.run, bin: layout.bin },
        identity,
        secrets,
        users: role.users.filter((user) => user !== "root"),
        binaries: programs.map((binary) => cloudBinary(binary, artifacts)),
        files,
        units: inOrder(role.services).map((service) => renderUnit(checked(service, programs, layout), role, layout)),
    };
}

function ownedFile(file: RoleFile, role: Role, layout: Layout): Required<RoleFile> {
    const secret = secretRefs(file.content).length > 0;
    if (secret && file.owner === undefined)
        throw new Error(`${file.path} of ${layout.machine} holds a secret, and has no owner`);
    if (file.owner !== undefined && file.owner !== "root" && !role.users.includes(file.owner)) {
        throw new Error(`${file.path} of ${layout.machine} belongs to ${file.owner}, who is no user of it`);
    }
    // Only a file with a secret needs an owner besides root: no service has to change its own settings.
    const { path, content } = file;
    return {
        path,
        content,
        mode: file.mode ?? (secret ? 0o600 : 0o644),
        owner: secret ? (file.owner ?? "root") : "root",
    };
}

/** @throws Error if the service cannot run, or would expose a secret in process lists and in the unit's file. */
function checked(service: Service, programs: readonly Binary[], layout: Layout): Service {
    if (secretRefs(JSON.stringify(service)).length > 0) throw new Error(`service ${service.name} refers to a secret`);
    const program = service.argv[0] ?? "";
    // The program itself, one in an unpacked archive, or one that the image holds.
    const known = programs.some(({ name }) => `${program}/`.startsWith(`${layout.bin}/${name}/`));
    if (!known && (!program.startsWith("/") || program.startsWith(`${layout.bin}/`))) {
        throw new Error(`service ${service.name} of ${layout.machine} runs ${program}, which is no binary of it`);
    }
    return service;
}

function cloudBinary({ name, source }: Binary, artifacts: ArtifactSource): CloudBinary {
    const file = (artifact: string, sha256?: string): CloudBinary => {
        if (artifacts.kind === "prebaked") return { kind: "file", name, ...(sha256 ? { sha256 } : {}), urls: [] };
        const known = artifacts.manifest.artifacts.find((each) => each.name === artifact);
        if (!known || (sha256 !== undefined && known.sha256 !== sha256)) {
            throw new Error(
                `the artifacts' manifest ${known ? `has another ${artifact} than this version's` : `lacks ${artifact}`}: ` +
                    "run `npm run artifacts -- --out DIR`, and upload DIR to gateway:image.artifacts",
            );
        }
        return {
            kind: "file",
            name,
            sha256: known.sha256,
            urls: [`${trimmed(artifacts.base)}/${known.sha256}/${artifact}`],
        };
    };
    switch (source.kind) {
        case "node":
            return file(NODE, pinnedNode.sha256[machineArchitecture]);
        case "bundle":
            return file(name, source.sha256);
        case "tool":
            // The distribution's HAProxy matches its libraries and gets its security updates.
            if (source.tool === "haproxy") return { kind: "package", name, package: "haproxy", lowest: source.version };
            return file(source.tool);
        case "package":
            return { kind: "package", name, package: source.package };
        case "archive": {
            const sha256 = source.sha256.toLowerCase();
            const mirror = artifacts.kind === "url" ? [`${trimmed(artifacts.base)}/${sha256}/${name}.tar.gz`] : [];
            const own = /^https?:/.test(source.url) ? [source.url] : [];
            return { kind: "archive", name, sha256, urls: [...own, ...mirror] };
        }
        case "project":
            throw new Error(`${name} needs the whole project, which is not there yet on real machines`);
    }
}

function trimmed(url: string): string {
    return url.replace(/\/+$/, "");
}

/** The user data as text. */
function cloudConfig(machine: CloudMachine, sysctls: Role["sysctls"], layout: Layout): string {
    const path = `${layout.etc}/machine.json`;
    const fetch = `${layout.etc}/fetch.sh`;
    const file = (at: string, content: string, permissions: string) => ({ path: at, permissions, content });
    const config = {
        write_files: [
            file(path, `${JSON.stringify(machine, undefined, 1)}\n`, "0644"),
            file(fetch, fetchScript(machine, layout), "0755"),
            file(`${UNITS}/${bootUnit}`, bootService(path, fetch, layout), "0644"),
            file(`${UNITS}/${readyUnit}`, readyService(path, layout), "0644"),
            file("/etc/systemd/journald.conf.d/gateway.conf", journalLimits(), "0644"),
            file("/etc/tmpfiles.d/gateway.conf", sharedFolders(layout), "0644"),
            ...(sysctls ? [file("/etc/sysctl.d/60-gateway.conf", kernelSettings(sysctls), "0644")] : []),
        ],
        runcmd: [
            ["systemctl", "daemon-reload"],
            ["systemctl", "try-restart", "systemd-journald.service"],
            // At the first boot systemd looks before the file exists.
            ...(sysctls ? [["systemctl", "restart", "systemd-sysctl.service"]] : []),
            ["systemctl", "enable", bootUnit, readyUnit],
            ["systemctl", "start", "--no-block", bootUnit, readyUnit],
        ],
    };
    return `#cloud-config\n${stringify(config, { lineWidth: 0 })}`;
}

/** The unit that sets up the machine at every boot. It changes only what is not as described. */
function bootService(machine: string, fetch: string, layout: Layout): string {
    return unitFile({
        Unit: [
            "Description=Set up this machine from its user data",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=0",
        ],
        Service: [
            "Type=oneshot",
            "RemainAfterExit=yes",
            `ExecStartPre=/bin/sh ${fetch}`,
            `ExecStart=${layout.bin}/${NODE} ${layout.bin}/${BOOT} run ${machine}`,
            "Restart=on-failure",
            "RestartSec=2s",
            "TimeoutStartSec=infinity",
            "UMask=0022",
        ],
        Install: ["WantedBy=multi-user.target"],
    });
}

/** The unit that is active once all services of the machine are ready. */
function readyService(machine: string, layout: Layout): string {
    return unitFile({
        Unit: ["Description=All services of this machine are ready", `After=${bootUnit}`, "StartLimitIntervalSec=0"],
        Service: [
            "Type=oneshot",
            "RemainAfterExit=yes",
            `ExecStart=${layout.bin}/${NODE} ${layout.bin}/${BOOT} ready ${machine} ${READY_SECONDS}`,
            "Restart=on-failure",
            "RestartSec=2s",
            "TimeoutStartSec=infinity",
        ],
        Install: ["WantedBy=multi-user.target"],
    });
}

/**
 * Gets Node and the boot program, which gets everything else. A correct file is left alone. A new one gets its name
 * only once its checksum is right.
 */
function fetchScript(machine: CloudMachine, layout: Layout): string {
    const calls = [NODE, BOOT].map((name) => {
        const binary = machine.binaries.find((each) => each.name === name);
        if (binary?.kind !== "file") throw new Error(`${machine.name} lacks ${name}`);
        return `get ${name} ${shellWord(binary.sha256 ?? "")} ${shellWord(binary.urls[0] ?? "")}`;
    });
    return `#!/bin/sh
# Gets the boot program and what runs it.
set -eu
bin=${layout.bin}
mkdir -p "$bin"
right() { [ -z "$1" ] || echo "$1  $2" | sha256sum -c --status; }
download() {
    if command -v curl >/dev/null; then
        curl -fsSL --retry 5 --retry-connrefused --connect-timeout 5 --speed-limit 1000 --speed-time 15 -o "$2" "$1"
    else
        wget -q --tries=5 --timeout=15 -O "$2" "$1"
    fi
}
get() {
    if [ -x "$bin/$1" ] && right "$2" "$bin/$1"; then return; fi
    if [ -z "$3" ]; then echo "the image lacks $bin/$1, or has another one" >&2; exit 1; fi
    download "$3" "$bin/$1.part"
    if ! right "$2" "$bin/$1.part"; then echo "$3 does not have the SHA-256 $2" >&2; rm "$bin/$1.part"; exit 1; fi
    chmod 0755 "$bin/$1.part"
    sync "$bin/$1.part"
    mv -f "$bin/$1.part" "$bin/$1"
}
${calls.join("\n")}
`;
}

/** A word in which the shell expands nothing. */
function shellWord(text: string): string {
    return `'${text.replaceAll("'", `'\\''`)}'`;
}
