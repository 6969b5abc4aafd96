/** The stack Serf + HAProxy: each balancer hears of the gateways by gossip; there is no server of a registry. */
import { haproxyUser } from "../haproxy";
import type { MembersSettings } from "../programs/serf/members";
import { type Layout, mergeRoles, type Role } from "../role";
import { serfRpc } from "../serf";
import { type BundledProgram, balancerPaths, type HaproxyBalancerArgs, haproxyBalancer } from "./balancer";

/** What the stack has to know. */
export interface SerfHaproxyArgs extends HaproxyBalancerArgs {
    /** The bundled `programs/serf/members.ts`. */
    readonly membersBundle: BundledProgram;
}

/** A balancer of the stack, without the Serf agent (service `serf`) that the machine needs besides. */
export function serfHaproxy(args: SerfHaproxyArgs, layout: Layout): Role {
    const path = `${layout.etc}/serf-members.json`;
    const { list } = balancerPaths(layout);
    const settings: MembersSettings = { rpc: serfRpc(layout), list };
    const members: Role = {
        name: "serf-members",
        files: [{ path, content: `${JSON.stringify(settings, undefined, 2)}\n`, owner: haproxyUser }],
        services: [
            {
                name: "serf-members",
                description: "Writes the list of the gateways that are alive",
                argv: [`${layout.bin}/node`, `${layout.bin}/serf-members.cjs`, path],
                // The same as HAProxy and the reconciler: they share the directory that the list is in.
                user: haproxyUser,
                after: ["serf", "reconciler"],
                ready: { kind: "file", path: list },
            },
        ],
        binaries: [
            { name: "node", source: { kind: "node" } },
            { name: "serf-members.cjs", source: { kind: "bundle", ...args.membersBundle } },
        ],
        users: [],
        ports: [],
        healthChecks: [],
    };
    return mergeRoles("balancer", haproxyBalancer(args, layout), members);
}
