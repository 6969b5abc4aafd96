import type * as pulumi from "@pulumi/pulumi";
import { ModuleResource } from "../dynamic/moduleProvider";
import type { ReadinessInputs } from "./readinessProvider";

/** The server and what its machine gets, with outputs as values. */
export type OpenstackReadinessArgs = { readonly [key in keyof ReadinessInputs]: pulumi.Input<ReadinessInputs[key]> };

/**
 * Delivers a new server's secrets and waits until it reports that it is ready. Nova takes a server as created once it
 * is ACTIVE, which says nothing about its services: the next Consul server or balancer must not be replaced yet.
 */
export class OpenstackReadiness extends ModuleResource {
    constructor(name: string, args: OpenstackReadinessArgs, opts: pulumi.CustomResourceOptions) {
        // The type keeps the name that version 0.1 gave it, because URNs contain it.
        super("openstack-readiness", "OpenstackGate", name, { ...args }, opts);
    }
}
