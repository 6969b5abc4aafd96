/** One address for several balancers, which one of them has at a time: VRRP, by keepalived. */
import { balancerStatusPort } from "./loadBalancer/balancer";
import { instanceRef, type Layout, type Role } from "./role";

/** What a balancer has to know to share an address. */
export interface KeepalivedArgs {
    /** The address that is shared. */
    readonly address: string;
    /** Addresses of the other balancers. */
    readonly peers: readonly string[];
    /** Which of the balancers this is, from 0; the first that lives gets the address. */
    readonly index: number;
    /** VRRP's number of the group, 1 to 255. */
    readonly virtualRouterId: number;
    /** What the balancer's status page answers to when it works. */
    readonly statusPath: string;
}

/** The priority of the first balancer, and how much less each next one has. 255 is for who owns the address. */
const PRIORITY = { first: 150, step: 10 } as const;
/** Checks of the balancer: pause and deadline in seconds, and how many in a row decide. */
const CHECK = { interval: 1, timeout: 1, fall: 2, rise: 2 } as const;
/**
 * Advertisements, seconds apart. One who hears none for three intervals and a part of a fourth takes the address, so after
 * 3 to 4 s (RFC 5798, 6.1).
 */
const ADVERTISE_SECONDS = 1;

/** keepalived's configuration. */
function config(args: KeepalivedArgs, layout: Layout, check: string): string {
    return `global_defs {
    router_id ${layout.machine}
    # Scripts run as root, so they have to be root's alone.
    enable_script_security
    script_user root
    # A switch that has missed the first announcements learns where the address is all the same.
    vrrp_garp_master_refresh 60
}

vrrp_script balancer {
    script "/bin/bash ${check}"
    interval ${CHECK.interval}
    timeout ${CHECK.timeout}
    fall ${CHECK.fall}
    rise ${CHECK.rise}
    init_fail
}

vrrp_instance clients {
    # Nobody takes the address from one that works.
    state BACKUP
    nopreempt
    interface ${instanceRef("interface")}
    virtual_router_id ${args.virtualRouterId}
    priority ${PRIORITY.first - PRIORITY.step * args.index}
    advert_int ${ADVERTISE_SECONDS}
    # A cloud's network passes on no multicast.
    unicast_src_ip ${layout.address}
    unicast_peer {
${args.peers.map((peer) => `        ${peer}`).join("\n")}
    }
    virtual_ipaddress {
        ${args.address}/32
    }
    track_script {
        balancer
    }
}
`;
}

/** Asks the balancer's status page: a connection alone would also succeed to one that is stuck. */
function checkScript(path: string, layout: Layout): string {
    return `# Whether the balancer on this machine works.
exec 3<>/dev/tcp/${layout.address}/${balancerStatusPort} || exit 1
printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t ${CHECK.timeout} _ status _ <&3
[ "$status" = 200 ]
`;
}

/** What lets a balancer share an address with the others. */
export function keepalived(args: KeepalivedArgs, layout: Layout): Role {
    const etc = `${layout.etc}/keepalived`;
    const paths = { config: `${etc}/keepalived.conf`, check: `${etc}/check.sh` };
    return {
        name: "keepalived",
        files: [
            { path: paths.config, content: config(args, layout, paths.check) },
            { path: paths.check, content: checkScript(args.statusPath, layout) },
        ],
        services: [
            {
                name: "keepalived",
                description: "Shares the clients' address with the other balancers",
                argv: [
                    `${layout.bin}/keepalived`,
                    "--dont-fork",
                    "--log-console",
                    "--vrrp",
                    `--use-file=${paths.config}`,
                    `--pid=${layout.run}/keepalived.pid`,
                    `--vrrp_pid=${layout.run}/keepalived-vrrp.pid`,
                ],
                // Only root may give an interface an address, and send frames of its own to say so.
                user: "root",
                // The last for the check: keepalived gives up groups before it runs one, and takes a check that it could
                // not run for one that has passed.
                capabilities: ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETGID"],
                systemCalls: ["setgroups"],
                sendsFrames: true,
            },
        ],
        binaries: [{ name: "keepalived", source: { kind: "package", package: "keepalived" } }],
        users: [],
        ports: [],
        healthChecks: [],
    };
}
