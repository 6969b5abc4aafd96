import type * as pulumi from "@pulumi/pulumi";
import { ModuleResource } from "../dynamic/moduleProvider";
import type { GateInputs } from "./gateProvider";

/** Whom it is about, and what the machine gets, see {@link GateInputs}; with outputs where values are. */
export type OpenstackGateArgs = { readonly [key in keyof GateInputs]: pulumi.Input<GateInputs[key]> };

/**
 * Gives a new server its secrets, and waits until it says that it is ready. Nova counts a server as made once it is
 * ACTIVE, which says nothing of what runs on it: a second Consul server or balancer must not be replaced by then.
 */
export class OpenstackGate extends ModuleResource {
    constructor(name: string, args: OpenstackGateArgs, opts: pulumi.CustomResourceOptions) {
        super("./components/openstack/gateProvider.ts", "OpenstackGate", name, { ...args }, opts);
    }
}
