/** A role's services as systemd units, for systemd 252 (Debian 12) or later. Pure. */
import { bootUnit, servicesGroup, type UnitFile, unitName } from "../../programs/boot/units";
import type { Layout, Probe, Service } from "../../programs/machine";
import type { Role } from "../role";

/**
 * Seconds until a service that is not ready is restarted. Long, because it may wait for other machines and a restart
 * gains nothing then; short enough for a service that hangs.
 */
const READY_SECONDS = 300;
/** Seconds that one run of a oneshot may take. */
const ONESHOT_SECONDS = 600;
/** Addresses of the metadata services of EC2 and OpenStack. Whoever reaches them has the instance's rights. */
const METADATA = "169.254.169.254 fd00:ec2::254";

/** The sandbox of every service, besides its own settings: `systemd.exec(5)`. */
const SANDBOX = [
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
] as const;

/** The unit of a service. */
export function renderUnit(service: Service, role: Pick<Role, "ports">, layout: Layout): UnitFile {
    // Wanted, not required. If a required unit fails, systemd stops the units that need it and does not start them
    // again when it recovers; and its restart would restart them. Each can wait for the other anyhow.
    const after = (service.after ?? []).map(unitName);
    const oneshot = service.type === "oneshot";
    const sections: Record<string, readonly string[]> = {
        Unit: [
            `Description=${specifiers(service.description)}`,
            `After=${["network-online.target", bootUnit, ...after].join(" ")}`,
            `Wants=${["network-online.target", ...after].join(" ")}`,
            // Restart without limit.
            "StartLimitIntervalSec=0",
        ],
        Service: [
            ...(oneshot ? ["Type=oneshot", "RemainAfterExit=yes"] : ["Type=exec"]),
            `ExecStart=${command(service.argv)}`,
            ...(service.ready ? [`ExecStartPost=${command(waitFor(service.ready, layout))}`] : []),
            // Runs as root, which may signal other users' processes. A failure does not matter.
            ...(service.reloads ?? []).map(
                (name) => `ExecStartPost=+-/bin/systemctl kill --signal=HUP --kill-who=main ${unitName(name)}`,
            ),
            ...(service.beforeStop ?? []).map((argv) => `ExecStop=-${command(ifRunning(argv))}`),
            ...(service.afterStop ?? []).map((argv) => `ExecStopPost=-${command(argv)}`),
            // systemd 252 cannot lengthen the pause (RestartSteps= came with 254).
            ...(oneshot ? ["Restart=on-failure", "RestartSec=2s"] : ["Restart=always", "RestartSec=1s"]),
            `TimeoutStartSec=${oneshot ? ONESHOT_SECONDS : READY_SECONDS + 30}s`,
            // Applies to each command before and after the stop, and to the stop itself.
            `TimeoutStopSec=${service.stopTimeoutSeconds ?? 10}s`,
            ...(service.endsChildren ? ["KillMode=mixed"] : []),
            `User=${service.user}`,
            // A home that no other service can write: programs, and the libraries in them, read settings from there.
            `StateDirectory=${homeOf(service)}`,
            "StateDirectoryMode=0700",
            `WorkingDirectory=/var/lib/${homeOf(service)}`,
            ...Object.entries(environment(service, layout)).map(
                ([name, value]) => `Environment=${specifiers(quoted(`${name}=${value}`))}`,
            ),
            "LimitNOFILE=65536",
            ...SANDBOX,
            // Added to the families above.
            ...(service.sendsFrames ? ["RestrictAddressFamilies=AF_PACKET"] : []),
            `ReadWritePaths=${layout.lib} ${layout.run}`,
            ...capabilities(service, role),
            // Except calls that change the system's clock, modules and so on.
            "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged @resources",
            `SystemCallFilter=${["@chown setrlimit prlimit64 sched_setaffinity setpriority", ...(service.systemCalls ?? [])].join(" ")}`,
            ...(service.usesCloud ? [] : [`IPAddressDeny=${METADATA}`]),
        ],
        Install: ["WantedBy=multi-user.target"],
    };
    return { name: unitName(service.name), content: unitFile(sections) };
}

/** Limits of the journal, `journald.conf(5)`, so that a service that logs too much cannot fill the disk. */
export function journalLimits(): string {
    return unitFile({
        Journal: [
            "SystemMaxUse=512M",
            "SystemKeepFree=1G",
            "RuntimeMaxUse=64M",
            "RateLimitIntervalSec=10s",
            "RateLimitBurst=5000",
        ],
    });
}

/**
 * Kernel settings, `sysctl.d(5)`, which systemd applies at each boot.
 *
 * @throws Error for a name or value that would mean something else there: a mistake in the role.
 */
export function kernelSettings(sysctls: Readonly<Record<string, number>>): string {
    return Object.entries(sysctls)
        .map(([name, value]) => {
            if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name) || !Number.isInteger(value)) {
                throw new Error(`${name} = ${value} is no setting of the kernel`);
            }
            return `${name} = ${value}\n`;
        })
        .join("");
}

/** The folders that the services share, `tmpfiles.d(5)`. The sticky bit keeps a service from another's files. */
export function sharedFolders(layout: Layout): string {
    return [layout.lib, layout.run].map((path) => `d ${path} 1770 root ${servicesGroup} -\n`).join("");
}

/** Writes one of systemd's files from its sections. */
export function unitFile(sections: Readonly<Record<string, readonly string[]>>): string {
    return Object.entries(sections)
        .map(([name, lines]) => `[${name}]\n${lines.map((line) => `${line}\n`).join("")}`)
        .join("\n");
}

/** The name of a service's own folder below `/var/lib`, which systemd makes for its user. */
function homeOf({ name }: Service): string {
    return unitName(name).replace(/\.service$/, "");
}

function environment(service: Service, layout: Layout): Readonly<Record<string, string>> {
    return {
        PATH: path(layout),
        HOME: `/var/lib/${homeOf(service)}`,
        LANG: "C.UTF-8",
        // The instance's role is the only identity. A file could name a program to run (`credential_process`).
        ...(service.usesCloud ? { AWS_CONFIG_FILE: "/dev/null", AWS_SHARED_CREDENTIALS_FILE: "/dev/null" } : {}),
        ...service.environment,
    };
}

function path(layout: Layout): string {
    return `${layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}

/**
 * The capabilities that the service asks for, and the one to listen below port 1024 on a machine that has such a port.
 */
function capabilities(service: Service, role: Pick<Role, "ports">): string[] {
    const low = role.ports.some(({ port }) => port < 1024) ? ["CAP_NET_BIND_SERVICE"] : [];
    const names = [...(service.capabilities ?? []), ...low].join(" ");
    // Root has every capability in the bounding set; other users have only what they are given.
    const given = names !== "" && service.user !== "root" ? [`AmbientCapabilities=${names}`] : [];
    return [`CapabilityBoundingSet=${names}`, ...given];
}

/** A command that succeeds once the probe does, and fails if that takes too long. See `programs/boot`. */
function waitFor(probe: Probe, layout: Layout): string[] {
    const words = (): string[] => {
        switch (probe.kind) {
            case "http":
                return [probe.url, String(probe.status)];
            case "tcp":
                return [probe.host, String(probe.port)];
            case "file":
                return [probe.path];
        }
    };
    return [`${layout.bin}/node`, `${layout.bin}/boot.cjs`, "wait", String(READY_SECONDS), probe.kind, ...words()];
}

/** systemd also runs the stop commands if the service has ended by itself. It is better to restart it then. */
function ifRunning(argv: readonly string[]): string[] {
    return ["/bin/sh", "-c", 'test -z "$MAINPID" || exec "$@"', "sh", ...argv];
}

/** A command line in which systemd expands nothing. The program's path must not begin with one of `@-:+!|`. */
function command(argv: readonly string[]): string {
    return specifiers(argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : quoted(word))).join(" ")).replaceAll(
        "$",
        "$$$$",
    );
}

function quoted(text: string): string {
    return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

function specifiers(text: string): string {
    return text.replaceAll("%", "%%");
}
