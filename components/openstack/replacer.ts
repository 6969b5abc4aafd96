import * as openstack from "@pulumi/openstack/package.json";
import * as pulumi from "@pulumi/pulumi";
import { statusUrls } from "../../replacement/observers/balancer";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { replacer } from "../../roles/replacer";
import type { Layout, Role } from "../../roles/role";
import { versions } from "../../scripts/tools/manifest";
import { bundle } from "../bundles";
import { machineName } from "../machineNames";
import type { OpenstackTarget } from "./target";

/** What the replacement loop has to know about the deployment that it is part of. */
export interface OpenstackReplacerArgs {
    readonly target: OpenstackTarget;
    /** The Consul servers' HTTPS API, `host:port`. */
    readonly consul: readonly string[];
    readonly caCertificate: string;
    /** The name under which gateways are registered. */
    readonly gatewayService: string;
    /** The balancers' addresses. */
    readonly balancers: readonly string[];
}

/**
 * The replacement loop as a part of a Consul server's role: each of them runs it, and one leads. Undefined where the
 * configuration wants none.
 *
 * What changes with the loop's policy or its program makes a new machine, as for every other setting of a machine.
 */
export function openstackReplacer(args: OpenstackReplacerArgs, layout: Layout): Role | undefined {
    const { target, consul, caCertificate, gatewayService, balancers } = args;
    const { cloud, settings, replacement, balancerStack } = target;
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
                stack: pulumi.getStack(),
                slots: { typeSuffix: "openstack:compute/instance:Instance", namePrefix: "gw-" },
                policy: replacement,
            },
            access: { caCertificate, token: "replacerToken" },
            program: {
                kind: "bundle",
                replacer: bundle("replacer"),
                dynamicProvider: bundle("dynamic-provider"),
                pulumi: versions.pulumi,
                plugins: { openstack: openstack.version, ...target.otherPlugins },
                backend: loop.stateBackend,
                cloud: {
                    name: cloud,
                    authUrl: loop.authUrl,
                    credentialId: loop.credentialId,
                    ...(settings.region ? { region: settings.region } : {}),
                    // Volumes are looked for only where machines have any: not every cloud has block storage.
                    volumes: settings.bootVolume !== undefined,
                },
            },
        },
        layout,
    );
}
