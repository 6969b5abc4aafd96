import * as pulumi from "@pulumi/pulumi";
import { consulAgent } from "../../roles/consulAgent";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { consulTemplateHaproxy } from "../../roles/loadBalancer/consulTemplateHaproxy";
import { fabio } from "../../roles/loadBalancer/fabio";
import { serfHaproxy } from "../../roles/loadBalancer/serfHaproxy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { type Layout, mergeRoles, type Role } from "../../roles/role";
import { serfAgent, serfTags } from "../../roles/serf";
import { versions } from "../../scripts/tools/manifest";
import type { LoadBalancerArgs, LoadBalancerOutputs } from "../loadBalancer";
import { machineName } from "./addresses";
import { bundle } from "./bundles";
import type { Gate } from "./gates";
import { LocalInstance } from "./instance";

/** Balancers as machines of this computer. */
export function localLoadBalancer(name: string, args: LoadBalancerArgs, parent: pulumi.Resource): LoadBalancerOutputs {
    const { discovery, target } = args;
    const { provider } = target;
    const layouts = [...Array(args.balancers).keys()].map((index) =>
        processLayout(machineName.balancer(index), target.addresses.balancer(index)),
    );
    const role = roleOf(args);
    const pages = layouts.map(balancerStatusUrl);
    const balancers: LocalInstance[] = [];
    for (const [index, layout] of layouts.entries()) {
        const machine = role(layout).apply((made) => renderProcess(made, layout));
        const page = balancerStatusUrl(layout);
        const serving: Gate = { kind: "serving", balancer: page, others: pages.filter((other) => other !== page) };
        balancers.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    machine,
                    secrets: discovery.secrets,
                    onChange: "update",
                    // The next one is not touched before this one serves again: between stacks nothing else would see to that.
                    gates: { create: [{ kind: "services" }], update: [{ kind: "services" }, serving] },
                },
                // One after the other: a change must never take both.
                { parent, provider, dependsOn: index === 0 ? [discovery] : balancers.slice(-1) },
            ),
        );
    }
    return {
        endpoints: pulumi.output(layouts.map((layout) => `${layout.address}:${args.port}`)),
        statusPages: pulumi.output(pages),
        machines: balancers,
    };
}

/** What runs on a balancer, by the stack. */
function roleOf({ stack, discovery, service, ...args }: LoadBalancerArgs): (layout: Layout) => pulumi.Output<Role> {
    const haproxy = () => ({
        port: args.port,
        healthCheck: service.healthCheck,
        slots: args.slots,
        maxConnections: service.maxConnections,
        drainSeconds: args.drainSeconds,
        reconcilerBundle: bundle("reconciler"),
        haproxyVersion: versions.haproxy,
    });
    switch (stack) {
        case "consul-template-haproxy":
            return (layout) =>
                discovery.cluster.apply((cluster) =>
                    mergeRoles(
                        "balancer",
                        consulAgent({ cluster, agentToken: "balancerAgentToken" }, layout),
                        consulTemplateHaproxy(
                            {
                                ...haproxy(),
                                service: service.name,
                                datacenter: cluster.datacenter,
                                consulTemplateVersion: versions["consul-template"],
                            },
                            layout,
                        ),
                    ),
                );
        case "fabio":
            return (layout) =>
                discovery.cluster.apply((cluster) =>
                    mergeRoles(
                        "balancer",
                        consulAgent({ cluster, agentToken: "balancerAgentToken", defaultToken: "fabioToken" }, layout),
                        fabio({ port: args.port, drainSeconds: args.drainSeconds, version: versions.fabio }, layout),
                    ),
                );
        case "serf-haproxy": {
            const { serf } = discovery;
            if (!serf) throw new Error("this deployment has no Serf");
            const membersBundle = bundle("serf-members");
            return (layout) =>
                serf.apply((cluster) =>
                    mergeRoles(
                        "balancer",
                        serfAgent({ cluster, tags: serfTags.balancer }, layout),
                        serfHaproxy({ ...haproxy(), membersBundle }, layout),
                    ),
                );
        }
    }
}
