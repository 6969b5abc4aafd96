/** A role's services as systemd units. Pure. The lowest version of systemd that they are for is 252, Debian 12's. */
import type { Layout, Probe, Role, Service } from "../role";

/** A unit, or another file of systemd's. */
export interface UnitFile {
    readonly name: string;
    readonly content: string;
}

/** The name of a service's unit. The prefix keeps it apart from the distribution's own, such as `haproxy.service`. */
export function unitName(service: string): string {
    return `gw-${service}.service`;
}

/** The unit that makes the machine what it has to be, before its services start, and the one that waits for them. */
export const bootUnit = unitName("boot");
export const readyUnit = unitName("ready");

/** The group that all services of a machine share; who is in it may make files in the folders for state and sockets. */
export const servicesGroup = "gateway-services";

/**
 * Seconds until a service that does not get ready is started anew. Long, because a service may have to wait for other
 * machines, and nothing is gained by starting it again; short enough for one that hangs.
 */
const READY_SECONDS = 300;
/** Seconds that one run of a oneshot may take. */
const ONESHOT_SECONDS = 600;
/** The addresses of the metadata services of EC2 and OpenStack; who reaches them has the rights of the instance. */
const METADATA = "169.254.169.254 fd00:ec2::254";

/** What a service may not do, besides what its own settings say. `systemd.exec(5)`. */
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
    // Wanted, not required: a required unit that fails takes those that need it along for good, because systemd does
    // not start them again when it recovers; and its restart would restart them. Each can wait for the other anyhow.
    const after = (service.after ?? []).map(unitName);
    const oneshot = service.type === "oneshot";
    const sections: Record<string, readonly string[]> = {
        Unit: [
            `Description=${specifiers(service.description)}`,
            `After=${["network-online.target", bootUnit, ...after].join(" ")}`,
            `Wants=${["network-online.target", ...after].join(" ")}`,
            // Never gives up.
            "StartLimitIntervalSec=0",
        ],
        Service: [
            ...(oneshot ? ["Type=oneshot", "RemainAfterExit=yes"] : ["Type=exec"]),
            `ExecStart=${command(service.argv)}`,
            ...(service.ready ? [`ExecStartPost=${command(waitFor(service.ready, layout))}`] : []),
            // By root, who may signal others; and no reason to fail.
            ...(service.reloads ?? []).map(
                (name) => `ExecStartPost=+-/bin/systemctl kill --signal=HUP --kill-who=main ${unitName(name)}`,
            ),
            ...(service.beforeStop ?? []).map((argv) => `ExecStop=-${command(ifRunning(argv))}`),
            ...(service.afterStop ?? []).map((argv) => `ExecStopPost=-${command(argv)}`),
            // systemd 252 cannot lengthen the pause (RestartSteps= came with 254).
            ...(oneshot ? ["Restart=on-failure", "RestartSec=2s"] : ["Restart=always", "RestartSec=1s"]),
            `TimeoutStartSec=${oneshot ? ONESHOT_SECONDS : READY_SECONDS + 30}s`,
            // For each command before and after the stop, and for the stop itself.
            `TimeoutStopSec=${service.stopTimeoutSeconds ?? 10}s`,
            ...(service.endsChildren ? ["KillMode=mixed"] : []),
            `User=${service.user}`,
            `WorkingDirectory=${layout.lib}`,
            ...Object.entries({ PATH: path(layout), HOME: layout.lib, LANG: "C.UTF-8", ...service.environment }).map(
                ([name, value]) => `Environment=${specifiers(quoted(`${name}=${value}`))}`,
            ),
            "LimitNOFILE=65536",
            ...SANDBOX,
            // Adds to the families above.
            ...(service.sendsFrames ? ["RestrictAddressFamilies=AF_PACKET"] : []),
            `ReadWritePaths=${layout.lib} ${layout.run}`,
            ...capabilities(service, role),
            // Of those, what changes the system's clock, modules and so on is left out again.
            "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged @resources",
            `SystemCallFilter=${["@chown setrlimit prlimit64 sched_setaffinity setpriority", ...(service.systemCalls ?? [])].join(" ")}`,
            ...(service.usesCloud ? [] : [`IPAddressDeny=${METADATA}`]),
        ],
        Install: ["WantedBy=multi-user.target"],
    };
    return { name: unitName(service.name), content: unitFile(sections) };
}

/** Limits of the journal, `journald.conf(5)`: a service that talks too much must not fill the disk. */
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
 * Settings of the kernel, `sysctl.d(5)`, which systemd makes at each boot.
 *
 * @throws Error for a name or value that would say something else there: a mistake in the role.
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

/** A file of systemd's from its sections. */
export function unitFile(sections: Readonly<Record<string, readonly string[]>>): string {
    return Object.entries(sections)
        .map(([name, lines]) => `[${name}]\n${lines.map((line) => `${line}\n`).join("")}`)
        .join("\n");
}

function path(layout: Layout): string {
    return `${layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}

/** Those that it asks for; and that of listening below 1024, on a machine that has such a port. */
function capabilities(service: Service, role: Pick<Role, "ports">): string[] {
    const low = role.ports.some(({ port }) => port < 1024) ? ["CAP_NET_BIND_SERVICE"] : [];
    const names = [...(service.capabilities ?? []), ...low].join(" ");
    // Root has all that it is let; others have only what they are given.
    const given = names !== "" && service.user !== "root" ? [`AmbientCapabilities=${names}`] : [];
    return [`CapabilityBoundingSet=${names}`, ...given];
}

/** The command that ends once the probe succeeds, and fails when that takes too long. See `machine/boot.ts`. */
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

/** systemd runs the commands of a stop also when the service has ended by itself; to start it again is better then. */
function ifRunning(argv: readonly string[]): string[] {
    return ["/bin/sh", "-c", 'test -z "$MAINPID" || exec "$@"', "sh", ...argv];
}

/** A command line in which nothing is expanded. The program's path must not begin with one of `@-:+!|`. */
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
