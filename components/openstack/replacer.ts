import * as openstack from "@pulumi/openstack/package.json";
import * as pulumi from "@pulumi/pulumi";
import { statusUrls } from "../../clients/balancerStatus";
import type { Layout } from "../../programs/machine";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { replacer } from "../../roles/replacer";
import type { Role } from "../../roles/role";
import { versions } from "../../toolchain/manifest";
import { machineName } from "../machineNames";
import type { OpenstackContext } from "./context";

/** What the replacement loop needs to know about its deployment. */
export interface OpenstackReplacerArgs {
    readonly target: OpenstackContext;
    /** The Consul servers' HTTPS API, `host:port`. */
    readonly consul: readonly string[];
    readonly caCertificate: string;
    /** The name under which gateways are registered. */
    readonly gatewayService: string;
    /** The balancers' addresses. */
    readonly balancers: readonly string[];
}

/**
 * The replacement loop as a part of a Consul server's role: each server runs it, and one of them leads. Undefined if
 * the configuration disables it.
 *
 * A change of the loop's policy or program creates a new machine, like any other change of a machine.
 */
export function openstackReplacer(args: OpenstackReplacerArgs, layout: Layout): Role | undefined {
    const { target, consul, caCertificate, gatewayService, balancers } = args;
    const { cloud, settings, replacement, balancerStack, files, names } = target;
    const { loop } = settings;
    if (!replacement || !loop) return undefined;
    const statusUrl = balancerStack === "fabio" ? statusUrls.fabio : statusUrls.haproxy;
    return replacer(
        {
            settings: {
                target: "openstack",
                consul: { addresses: consul.map((address) => `https://${address}`), service: gatewayService },
                balancers: balancers.map((address, index) => ({
                    name: machineName.balancer(index),
                    url: statusUrl(balancerStatusUrl({ address })),
                })),
                project: pulumi.getProject(),
                stack: pulumi.getStack(),
                deployment: names.deployment,
                slots: { typeSuffix: "openstack:compute/instance:Instance", namePrefix: "gw-" },
                policy: replacement,
            },
            access: { caCertificate, token: "replacerToken" },
            program: {
                kind: "bundle",
                replacer: files.bundle("replacer"),
                dynamicProvider: files.bundle("dynamic-provider"),
                pulumi: versions.pulumi,
                plugins: { openstack: openstack.version, ...target.otherPlugins },
                backend: loop.stateBackend,
                cloud: {
                    name: cloud,
                    authUrl: loop.authUrl,
                    credentialId: loop.credentialId,
                    ...(settings.region ? { region: settings.region } : {}),
                    // Volumes are searched for only if machines have any: not every cloud has block storage.
                    volumes: settings.bootVolume !== undefined,
                },
            },
        },
        layout,
    );
}
