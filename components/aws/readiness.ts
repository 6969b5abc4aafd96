import type * as pulumi from "@pulumi/pulumi";
import { ModuleResource } from "../dynamic/moduleProvider";
import type { ReadinessInputs } from "./readinessProvider";

/** What must hold before a deployment goes on, with outputs as values. */
export type AwsReadinessArgs = { readonly [key in keyof ReadinessInputs]: pulumi.Input<ReadinessInputs[key]> };

/**
 * Waits until AWS's own checks find machines healthy. AWS's provider takes an instance as created once it runs, which
 * says nothing about its services: the next Consul server or balancer must not be replaced yet.
 */
export class AwsReadiness extends ModuleResource {
    constructor(name: string, args: AwsReadinessArgs, opts: pulumi.CustomResourceOptions) {
        // The type keeps the name that version 0.1 gave it, because URNs contain it.
        super("aws-readiness", "AwsGate", name, { ...args }, opts);
    }
}
