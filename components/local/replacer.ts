import * as pulumi from "@pulumi/pulumi";
import { statusUrls } from "../../replacement/observers/balancer";
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
    const statusUrl = balancers.stack === "fabio" ? statusUrls.fabio : statusUrls.haproxy;
    const consul = discovery.hasConsul
        ? pulumi.all([discovery.cluster, discovery.api]).apply(([{ caCertificate }, api]) => ({
              caCertificate,
              addresses: api.map((address) => `https://${address}`),
          }))
        : undefined;
    const machine = pulumi.all([consul, balancers.statusPages]).apply(([known, statusPages]) =>
        renderProcess(
            replacer(
                {
                    settings: {
                        target: "local",
                        ...(known ? { consul: { addresses: known.addresses, service: service.name } } : {}),
                        balancers: statusPages.map((page, index) => ({
                            name: machineName.balancer(index),
                            url: statusUrl(page),
                        })),
                        // From the machine's own folder: the machines are its neighbours.
                        machinesDirectory: "..",
                        stack: pulumi.getStack(),
                        slots: { typeSuffix: "gateway:Instance", namePrefix: "gw-" },
                        policy,
                    },
                    ...(known ? { access: { caCertificate: known.caCertificate, token: "replacerToken" } } : {}),
                    environment: { GATEWAY_MACHINE: layout.machine },
                    program: { kind: "project", ...program },
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
