import * as pulumi from "@pulumi/pulumi";
import { deploymentKey } from "../../replacement/serverMetadata";

/** The names of a target's resources. */
export interface OpenstackNames {
    /** The name of the deployment on its servers and ports, by which the replacement loop finds them. */
    readonly deployment: string;
    /** A name as OpenStack shows it. It need not be unique there; it says which deployment it belongs to. */
    readonly nameOf: (what: string) => string;
    /** Tags of what Neutron has for the deployment. */
    readonly tags: () => string[];
}

/**
 * The names of a target. The deployment has the stack's name. A target that is not called `openstack` adds its own
 * name, so that a stack may hold several.
 */
export function openstackNames(target: string): OpenstackNames {
    const [project, stack] = [pulumi.getProject(), pulumi.getStack()];
    const deployment = target === "openstack" ? stack : `${stack}-${target}`;
    return {
        deployment,
        nameOf: (what) => `${project}-${deployment}-${what}`,
        tags: () => [`project=${project}`, `${deploymentKey}=${deployment}`],
    };
}
