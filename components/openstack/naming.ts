import * as pulumi from "@pulumi/pulumi";
import { deploymentKey } from "../../replacement/stamp";

/** The name of something as OpenStack shows it. Names need not be unique there; this one says whose it is. */
export function nameOf(what: string): string {
    return `${pulumi.getProject()}-${pulumi.getStack()}-${what}`;
}

/** Tags of what Neutron has for the deployment; by the second, the replacement loop finds ports that nobody knows. */
export function tags(): string[] {
    return [`project=${pulumi.getProject()}`, `${deploymentKey}=${pulumi.getStack()}`];
}
