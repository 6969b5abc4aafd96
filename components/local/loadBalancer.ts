import * as pulumi from "@pulumi/pulumi";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { processLayout, renderProcess } from "../../roles/render/process";
import type { Gate } from "../../supervisor/gates";
import type { LoadBalancerArgs, LoadBalancerOutputs } from "../loadBalancer";
import { machineName } from "../machineNames";
import { balancerRole } from "../roles";
import type { LocalTarget } from "../target";
import { LocalInstance } from "./instance";

/** Balancers as machines of this computer. */
export function localLoadBalancer(
    name: string,
    args: LoadBalancerArgs<LocalTarget>,
    parent: pulumi.Resource,
): LoadBalancerOutputs {
    const { discovery, stack, service, target, port, slots, drainSeconds } = args;
    const { provider } = target;
    const layouts = [...Array(args.balancers).keys()].map((index) =>
        processLayout(machineName.balancer(index), target.addresses.balancer(index)),
    );
    const pages = layouts.map(balancerStatusUrl);
    const balancers: LocalInstance[] = [];
    for (const [index, layout] of layouts.entries()) {
        const machine = discovery.registry.apply((registry) =>
            renderProcess(balancerRole({ registry, stack, service, port, slots, drainSeconds }, layout), layout),
        );
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
        endpoints: pulumi.output(layouts.map((layout) => `${layout.address}:${port}`)),
        statusPages: pulumi.output(pages),
        machines: balancers,
    };
}
