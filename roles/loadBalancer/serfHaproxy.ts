/** The stack Serf + HAProxy: each balancer learns of the gateways by gossip, without a registry server. */

import type { Layout } from "../../programs/machine";
import type { MembersSettings } from "../../programs/serf-members/main";
import { haproxyUser } from "../haproxy";
import { nodeBinary } from "../node";
import { mergeRoles, type Role } from "../role";
import { serfRpc } from "../serf";
import { type BundledProgram, balancerPaths, type HaproxyBalancerArgs, haproxyBalancer } from "./balancer";

/** Arguments of {@link serfHaproxy}. */
export interface SerfHaproxyArgs extends HaproxyBalancerArgs {
    /** The bundled program `programs/serf-members`. */
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
                // The same user as HAProxy and the reconciler: they share the directory with the list.
                user: haproxyUser,
                after: ["serf", "reconciler"],
                ready: { kind: "file", path: list },
            },
        ],
        binaries: [nodeBinary, { name: "serf-members.cjs", source: { kind: "bundle", ...args.membersBundle } }],
        users: [],
        ports: [],
        healthChecks: [],
    };
    return mergeRoles("balancer", haproxyBalancer(args, layout), members);
}
