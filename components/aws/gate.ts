import type * as pulumi from "@pulumi/pulumi";
import { ModuleResource } from "../dynamic/moduleProvider";
import type { GateInputs } from "./gateProvider";

/** What has to hold before a deployment goes on, see {@link GateInputs}, with outputs where values are. */
export type AwsGateArgs = { readonly [key in keyof GateInputs]: pulumi.Input<GateInputs[key]> };

/**
 * Waits until AWS's own checks find machines well. AWS's provider counts an instance as made once it runs, which says
 * nothing of what runs on it: a second Consul server or balancer must not be replaced by then.
 */
export class AwsGate extends ModuleResource {
    constructor(name: string, args: AwsGateArgs, opts: pulumi.CustomResourceOptions) {
        super("./components/aws/gateProvider.ts", "AwsGate", name, { ...args }, opts);
    }
}
