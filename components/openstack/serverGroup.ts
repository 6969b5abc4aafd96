import * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { OpenstackContext } from "./context";

/** The server group of the machines of one kind: Nova puts its servers on different hosts, as the policy says. */
export function serverGroup(
    name: string,
    what: string,
    { settings, names }: OpenstackContext,
    options: pulumi.CustomResourceOptions,
): openstack.compute.ServerGroup {
    // A list with one entry, as Nova's first microversions require.
    return new openstack.compute.ServerGroup(
        `${name}-servers`,
        { name: names.nameOf(what), policies: [settings.serverGroupPolicy] },
        options,
    );
}
