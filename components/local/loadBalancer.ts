import * as pulumi from "@pulumi/pulumi";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { processLayout, renderProcess } from "../../roles/render/process";
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
    const { discovery, service, target, port, slots, drainSeconds } = args;
    const { provider } = target;
    const layouts = [...Array(args.balancers).keys()].map((index) =>
        processLayout(machineName.balancer(index), target.addresses.balancer(index)),
    );
    const balancers: LocalInstance[] = [];
    for (const [index, layout] of layouts.entries()) {
        const machine = discovery.cluster.apply((cluster) =>
            renderProcess(balancerRole({ cluster, service, port, slots, drainSeconds }, layout), layout),
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
        endpoints: pulumi.output(layouts.map((layout) => `${layout.address}:${port}`)),
        statusPages: pulumi.output(layouts.map(balancerStatusUrl)),
        machines: balancers,
    };
}
