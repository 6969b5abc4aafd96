import * as pulumi from "@pulumi/pulumi";
import { consulAgent } from "../../roles/consulAgent";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { consulTemplateHaproxy } from "../../roles/loadBalancer/consulTemplateHaproxy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { mergeRoles } from "../../roles/role";
import { versions } from "../../scripts/tools/manifest";
import type { LoadBalancerArgs, LoadBalancerOutputs } from "../loadBalancer";
import { machineName } from "./addresses";
import { bundle } from "./bundles";
import { LocalInstance } from "./instance";

/** Balancers as machines of this computer. */
export function localLoadBalancer(name: string, args: LoadBalancerArgs, parent: pulumi.Resource): LoadBalancerOutputs {
    const { discovery, service, target } = args;
    const { provider } = target;
    const layouts = [...Array(args.balancers).keys()].map((index) =>
        processLayout(machineName.balancer(index), target.addresses.balancer(index)),
    );
    const reconcilerBundle = bundle("reconciler");
    const balancers: LocalInstance[] = [];
    for (const [index, layout] of layouts.entries()) {
        const machine = discovery.cluster.apply((cluster) =>
            renderProcess(
                mergeRoles(
                    "balancer",
                    consulAgent({ cluster, agentToken: "balancerAgentToken" }, layout),
                    consulTemplateHaproxy(
                        {
                            service: service.name,
                            datacenter: cluster.datacenter,
                            port: args.port,
                            healthCheck: service.healthCheck,
                            slots: args.slots,
                            maxConnections: service.maxConnections,
                            drainSeconds: args.drainSeconds,
                            reconcilerBundle,
                            haproxyVersion: versions.haproxy,
                            consulTemplateVersion: versions["consul-template"],
                        },
                        layout,
                    ),
                ),
                layout,
            ),
        );
        balancers.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    machine,
                    secrets: discovery.secrets,
                    onChange: "update",
                    gates: { create: [{ kind: "services" }], update: [{ kind: "services" }] },
                },
                // One after the other: a change must never take both.
                { parent, provider, dependsOn: index === 0 ? [discovery] : balancers.slice(-1) },
            ),
        );
    }
    return {
        endpoints: pulumi.output(layouts.map((layout) => `${layout.address}:${args.port}`)),
        statusPages: pulumi.output(layouts.map(balancerStatusUrl)),
        machines: balancers,
    };
}
