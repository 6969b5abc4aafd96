/** One address shared by several balancers and held by one of them at a time: VRRP, by keepalived. */

import { instanceRef, type Layout } from "../programs/machine";
import { balancerStatusPort } from "./loadBalancer/balancer";
import type { Role } from "./role";

/** Arguments of {@link keepalived}. */
export interface KeepalivedArgs {
    /** The address that is shared. */
    readonly address: string;
    /** Addresses of the other balancers. */
    readonly peers: readonly string[];
    /** Index of this balancer, from 0. The first one that is alive gets the address. */
    readonly index: number;
    /** VRRP's number of the group, 1 to 255. */
    readonly virtualRouterId: number;
    /** Path of the balancer's status page that answers 200 while the balancer works. */
    readonly statusPath: string;
}

/** Priority of the first balancer, and the step down to each next one. 255 is reserved for the owner of the address. */
const PRIORITY = { first: 150, step: 10 } as const;
/** Checks of the balancer: pause and deadline in seconds, and how many in a row decide. */
const CHECK = { interval: 1, timeout: 1, fall: 2, rise: 2 } as const;
/**
 * Seconds between two advertisements. A balancer that hears none for three intervals and part of a fourth takes the
 * address, so after 3 to 4 s (RFC 5798, 6.1).
 */
const ADVERTISE_SECONDS = 1;

/** keepalived's configuration. */
function config(args: KeepalivedArgs, layout: Layout, check: string): string {
    return `global_defs {
    router_id ${layout.machine}
    # Scripts run as root, so only root may write them.
    enable_script_security
    script_user root
    # A switch that missed the first announcements still learns where the address is.
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
    # No balancer takes the address from one that works.
    state BACKUP
    nopreempt
    interface ${instanceRef("interface")}
    virtual_router_id ${args.virtualRouterId}
    priority ${PRIORITY.first - PRIORITY.step * args.index}
    advert_int ${ADVERTISE_SECONDS}
    # Cloud networks do not forward multicast.
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

/** Requests the balancer's status page. A bare connection would also succeed to a balancer that is stuck. */
function checkScript(path: string, layout: Layout): string {
    return `# Whether the balancer on this machine works.
exec 3<>/dev/tcp/${layout.address}/${balancerStatusPort} || exit 1
printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t ${CHECK.timeout} _ status _ <&3
[ "$status" = 200 ]
`;
}

/** The part of a balancer's role that shares an address with the others. */
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
                // Only root may add an address to an interface and send raw frames to announce it.
                user: "root",
                // The last capability is for the check: keepalived drops groups before it runs one, and counts a check
                // that it could not run as passed.
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
