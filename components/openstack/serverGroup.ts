import * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { OpenstackConfig } from "../config";
import { nameOf } from "./naming";

/** The server group of the machines of one kind: Nova puts its servers on different hosts, as the policy says. */
export function serverGroup(
    name: string,
    what: string,
    { serverGroupPolicy }: OpenstackConfig,
    options: pulumi.CustomResourceOptions,
): openstack.compute.ServerGroup {
    // A list, which holds one: what Nova's first microversions wanted.
    return new openstack.compute.ServerGroup(
        `${name}-servers`,
        { name: nameOf(what), policies: [serverGroupPolicy] },
        options,
    );
}
