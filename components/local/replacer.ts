import * as pulumi from "@pulumi/pulumi";
import type { ReplacementPolicy } from "../../replacement/policy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { replacer } from "../../roles/replacer";
import { projectProgram } from "../bundles";
import type { GatewayService } from "../config";
import type { LoadBalancer } from "../loadBalancer";
import { machineName } from "../machineNames";
import type { ServiceDiscovery } from "../serviceDiscovery";
import type { LocalTarget } from "../target";
import { LocalInstance } from "./instance";

/** What the replacement loop of this computer needs to know. */
export interface LocalReplacerArgs {
    readonly target: LocalTarget;
    readonly discovery: ServiceDiscovery;
    readonly balancers: LoadBalancer;
    readonly service: GatewayService;
    readonly policy: ReplacementPolicy;
}

/** A machine of this computer that runs the replacement loop on the very stack that it is part of. */
export function localReplacer(
    name: string,
    args: LocalReplacerArgs,
    parent: pulumi.Resource,
    gateways: readonly pulumi.Resource[],
): LocalInstance {
    const { discovery, balancers, service, policy, target } = args;
    const { provider } = target;
    const layout = processLayout(machineName.replacer, target.addresses.replacer);
    const program = projectProgram("replacement/main.ts");
    const machine = pulumi
        .all([discovery.cluster, discovery.api, balancers.statusPages])
        .apply(([cluster, api, statusPages]) =>
            renderProcess(
                replacer(
                    {
                        settings: {
                            target: "local",
                            consul: {
                                addresses: api.map((address) => `https://${address}`),
                                service: service.name,
                            },
                            balancers: statusPages.map((page, index) => ({
                                name: machineName.balancer(index),
                                url: `${page}/;csv`,
                            })),
                            // From the machine's own folder: the machines are its neighbours.
                            machinesDirectory: "..",
                            projectDirectory: "bin/project",
                            stack: pulumi.getStack(),
                            slots: { typeSuffix: "gateway:Instance", namePrefix: "gw-" },
                            policy,
                        },
                        caCertificate: cluster.caCertificate,
                        environment: { GATEWAY_MACHINE: layout.machine },
                        program,
                        token: "replacerToken",
                    },
                    layout,
                ),
                layout,
            ),
        );
    return new LocalInstance(
        name,
        {
            machine,
            secrets: discovery.secrets,
            onChange: "update",
            gates: { create: [{ kind: "services" }], update: [{ kind: "services" }] },
        },
        { parent, provider, dependsOn: [...gateways] },
    );
}
