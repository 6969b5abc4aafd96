/**
 * A role rendered for a real machine: user data for cloud-init, on EC2, OpenStack and NoCloud alike. Pure.
 *
 * The user data holds what the machine is to be ({@link CloudMachine}) and how to get Node and the boot program, which
 * does the rest (`machine/boot.ts`). It holds no secret, only where each one is found; and nothing that changes by
 * itself, so that what did not change previews as no change.
 */
import { gzipSync } from "fflate";
import { stringify } from "yaml";
import {
    type Binary,
    type InstanceFact,
    instanceRefs,
    type Layout,
    type Role,
    type RoleFile,
    type Service,
    secretRefs,
} from "../role";
import { inOrder } from "./process";
import {
    bootUnit,
    journalLimits,
    kernelSettings,
    readyUnit,
    renderUnit,
    sharedFolders,
    type UnitFile,
    unitFile,
} from "./systemd";

/** The most that EC2 takes, bytes, before base64. */
export const userDataLimit = 16 * 1024;

/** A file that machines fetch, as `artifacts.json` lists it. */
export interface Artifact {
    /** The binary's name, such as `consul`; also the file's name. */
    readonly name: string;
    readonly version: string;
    /** In hex. */
    readonly sha256: string;
    /** In bytes. */
    readonly size: number;
}

/** What `npm run artifacts` writes: every file that machines may need. */
export interface ArtifactManifest {
    readonly artifacts: readonly Artifact[];
}

/** Where a machine has its binaries from. */
export type ArtifactSource =
    /** Fetched from `BASE/SHA256/NAME`, and checked: whoever serves it need not be trusted. */
    | { readonly kind: "url"; readonly base: string; readonly manifest: ArtifactManifest }
    /** The image holds them already, at the same paths; see `docs/images.md`. */
    | { readonly kind: "prebaked" };

/** Where a machine has its secrets from. Later clouds join this union. */
export type SecretSource =
    | { readonly kind: "none" }
    /** Parameters `PREFIX/NAME` of AWS Systems Manager, read with the rights of the instance's role. */
    | {
          readonly kind: "ssm";
          readonly region: string;
          /** Begins with a slash and does not end with one. */
          readonly prefix: string;
          /** URL of the API, if not the usual one. */
          readonly endpoint?: string;
      }
    /** The engine leaves them at OpenStack's API, encrypted for this machine; see `roles/delivery.ts`. */
    | {
          readonly kind: "delivered";
          /** URL of the metadata service down to its version, if not the usual one. */
          readonly endpoint?: string;
      };

/**
 * Who tells the machine what {@link InstanceFact}s stand for: EC2's metadata service, or cloud-init, which asked the
 * cloud already. The name `gw-` and `id` makes with the one must be what it makes with the other.
 */
export type IdentitySource = "ec2" | "cloud-init";

/** Something executable as the boot program gets it. */
export type CloudBinary =
    | {
          readonly kind: "file" | "archive";
          readonly name: string;
          /** In hex; undefined: the image holds it, and what it is was checked when that was made. */
          readonly sha256?: string;
          /** Tried in turn; empty: the image holds it. */
          readonly urls: readonly string[];
      }
    /** A program of the distribution's: installed when it is not there. */
    | { readonly kind: "package"; readonly name: string; readonly package: string; readonly lowest?: string };

/** What a machine is to be. Files, units and `name` may hold references to secrets and to facts about the instance. */
export interface CloudMachine {
    readonly name: string;
    readonly role: string;
    readonly directories: Pick<Layout, "etc" | "lib" | "run" | "bin">;
    readonly identity: IdentitySource;
    readonly secrets: SecretSource;
    readonly users: readonly string[];
    readonly binaries: readonly CloudBinary[];
    readonly files: readonly Required<RoleFile>[];
    readonly units: readonly UnitFile[];
}

/** What {@link renderCloudInit} needs. */
export interface CloudInitArgs {
    readonly role: Role;
    readonly layout: Layout;
    readonly artifacts: ArtifactSource;
    readonly secrets: SecretSource;
    /** Default `cloud-init`. Asked only when the role refers to the instance. */
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
    /** What it is about. */
    readonly machine: CloudMachine;
    /** Names of the secrets that the machine reads, sorted: what its role has to be allowed to. */
    readonly secretNames: readonly string[];
}

/** The version of Node on the machines is that of the artifact; its name is the binary's. */
const NODE = "node";
/** The boot program's name below `bin`. */
const BOOT = "boot.cjs";
/** Seconds after which services that are not ready are told of in the journal; the wait goes on. */
const READY_SECONDS = 300;
/** Where systemd looks for units. */
const UNITS = "/etc/systemd/system";

/**
 * Where files are on a real machine.
 *
 * @param machine its name; for an AutoScaling group with a reference, as `gw-${instanceRef("id")}`. Consul's node
 *        name, so it has to begin with what the node's token allows to register (`gw-`, `lb-`, `consul-`).
 * @param address its private IPv4 address, or `instanceRef("address")`.
 */
export function cloudLayout(machine: string, address: string): Layout {
    return {
        machine,
        address,
        localAddress: "127.0.0.1",
        etc: "/etc/gateway",
        lib: "/var/lib/gateway",
        run: "/run/gateway",
        bin: "/opt/gateway/bin",
    };
}

/**
 * Renders a role to user data.
 *
 * @throws Error when it is larger than EC2 allows, a binary is not in the artifacts' manifest (the remedy is named),
 *         or the role is not fit for a real machine: our mistake.
 */
export function renderCloudInit(args: CloudInitArgs): CloudInit {
    const machine = cloudMachine(args);
    const text = cloudConfig(machine, args.role.sysctls, args.layout);
    // Not zlib, whose output differs between processors; and no time of day.
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
        { name: NODE, source: { kind: "node" } },
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
    // Only what holds a secret needs an owner besides root: nobody has to be able to change his own settings.
    const { path, content } = file;
    return {
        path,
        content,
        mode: file.mode ?? (secret ? 0o600 : 0o644),
        owner: secret ? (file.owner ?? "root") : "root",
    };
}

/** @throws Error when the service cannot run, or would show a secret in process lists and in the unit's file. */
function checked(service: Service, programs: readonly Binary[], layout: Layout): Service {
    if (secretRefs(JSON.stringify(service)).length > 0) throw new Error(`service ${service.name} refers to a secret`);
    const program = service.argv[0] ?? "";
    // The program itself, or one in an unpacked archive; or one that the image holds.
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
            return file(NODE);
        case "bundle":
            return file(name, source.sha256);
        case "tool":
            // HAProxy is linked to the distribution's libraries, and mended by its security updates.
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
            // At the first boot systemd has looked before the file was there.
            ...(sysctls ? [["systemctl", "restart", "systemd-sysctl.service"]] : []),
            ["systemctl", "enable", bootUnit, readyUnit],
            ["systemctl", "start", "--no-block", bootUnit, readyUnit],
        ],
    };
    return `#cloud-config\n${stringify(config, { lineWidth: 0 })}`;
}

/** The unit that makes the machine what it has to be, at every boot: where nothing is to be done, nothing is. */
function bootService(machine: string, fetch: string, layout: Layout): string {
    return unitFile({
        Unit: [
            "Description=Makes this machine what its user data says",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=0",
        ],
        Service: [
            "Type=oneshot",
            "RemainAfterExit=yes",
            // AWS's library would tell in each boot's journal which versions of Node its later versions will take.
            "Environment=AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED=true",
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
 * Gets Node and the boot program, which get everything else. A file that is there and right is left alone; a new one
 * takes its name only once it is checked.
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

/** What a machine has to be told about its instance before its files are complete. */
export function instanceFacts(machine: CloudMachine): InstanceFact[] {
    return instanceRefs(JSON.stringify(machine));
}
