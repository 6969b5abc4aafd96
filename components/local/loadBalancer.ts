import * as pulumi from "@pulumi/pulumi";
import type { ReadinessCondition } from "../../clients/readiness";
import { balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { processLayout, renderProcess } from "../../roles/render/process";
import { machineName } from "../machineNames";
import { balancerRole } from "../machineRoles";
import type { BalancersArgs, BalancersOutputs } from "../target";
import type { LocalContext } from "./context";
import { LocalInstance } from "./instance";

/** Balancers as machines of this computer. */
export function localLoadBalancer(
    { addresses, files, area }: LocalContext,
    name: string,
    args: BalancersArgs,
    parent: pulumi.Resource,
): BalancersOutputs<undefined> {
    const { discovery, stack, service, port, slots, drainSeconds } = args;
    const layouts = [...Array(args.balancers).keys()].map((index) =>
        processLayout(machineName.balancer(index), addresses.balancer(index)),
    );
    const pages = layouts.map(balancerStatusUrl);
    const balancers: LocalInstance[] = [];
    for (const [index, layout] of layouts.entries()) {
        const machine = discovery.registry.apply((registry) =>
            renderProcess(
                balancerRole(
                    files,
                    { registry, stack, service, port, networks: [addresses.network], slots, drainSeconds },
                    layout,
                ),
                layout,
            ),
        );
        const page = balancerStatusUrl(layout);
        const serving: ReadinessCondition = {
            kind: "serving",
            balancer: page,
            others: pages.filter((other) => other !== page),
        };
        balancers.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    area,
                    machine,
                    secrets: discovery.secrets,
                    onChange: "update",
                    // The next one waits until this one serves again: during a change of the stack nothing else ensures
                    // that.
                    gates: { create: [{ kind: "services" }], update: [{ kind: "services" }, serving] },
                },
                // One after the other: a change must never take both.
                { parent, dependsOn: index === 0 ? [discovery] : balancers.slice(-1) },
            ),
        );
    }
    return {
        endpoints: pulumi.output(layouts.map((layout) => `${layout.address}:${port}`)),
        statusPages: pulumi.output(pages),
        machines: balancers,
        resources: undefined,
    };
}
