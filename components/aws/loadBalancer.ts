import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { cloudLayout } from "../../programs/boot/description";
import { balancerStatusPort, balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { secretsOf } from "../../roles/role";
import { machineName } from "../machineNames";
import { balancerRole, type Registry, unknownRegistry } from "../machineRoles";
import type { BalancersArgs, BalancersOutputs } from "../target";
import type { AwsContext } from "./context";
import { type FixedMachine, fixedMachine } from "./fixedMachine";
import { machineIdentity } from "./iam";
import { roleSecurityGroup } from "./securityGroups";
import type { AwsServiceDiscovery } from "./serviceDiscovery";

/** Escape hatch of the balancers on target `aws`. */
export interface AwsLoadBalancer {
    readonly loadBalancer: aws.lb.LoadBalancer;
    readonly securityGroup: aws.ec2.SecurityGroup;
    readonly targetGroup: aws.lb.TargetGroup;
    readonly listener: aws.lb.Listener;
}

/**
 * Balancers as instances with fixed names and addresses, one zone after the other, behind the network load balancer.
 * One is replaced only once the previous one is healthy.
 */
export function awsLoadBalancer(
    target: AwsContext,
    name: string,
    args: BalancersArgs<AwsServiceDiscovery>,
    parent: pulumi.Resource,
): BalancersOutputs<AwsLoadBalancer> {
    const { discovery, stack, service, port, slots, drainSeconds } = args;
    const { network, nlb, files, names } = target;
    const { parameters, rights, credentials } = discovery.resources;
    const child = { parent, dependsOn: [credentials] };
    const role = (index: number, registry: Registry, address: string, networks: readonly string[]) => {
        const layout = cloudLayout(machineName.balancer(index), address);
        const balancer = { registry, stack, service, port, networks, slots, drainSeconds };
        return { role: balancerRole(files, balancer, layout), layout };
    };
    const shape = role(0, unknownRegistry(discovery), "0.0.0.0", []).role;
    const group = roleSecurityGroup(
        name,
        "balancer",
        shape.ports,
        [balancerStatusPort],
        { vpcId: network.vpcId, members: network.members, nlb: nlb.group, tags: names.tagsOf("balancer") },
        child,
    );
    nlb.openTo(name, port, child);
    const identity = machineIdentity(name, target, { secrets: secretsOf(shape), parameters, more: rights }, child);
    const { targetGroup, listener } = nlb.send(
        {
            name: `${name}-targets`,
            port,
            // The same check for every stack: otherwise a change of the stack would make balancers that have not
            // changed yet unhealthy. HAProxy shows its status here; Fabio, once registered in Consul, redirects to its
            // list of routes.
            check: { protocol: "HTTP", port: balancerStatusPort, path: "/" },
            drainSeconds,
        },
        child,
    );
    const machines: FixedMachine[] = [];
    const addresses: pulumi.Output<string>[] = [];
    for (const index of Array(args.balancers).keys()) {
        const { address } = network.fixed("balancer", index);
        const parts = pulumi.all([discovery.registry, address, network.gatewayNetworks]);
        const userData = parts.apply(([registry, known, networks]) => {
            const made = role(index, registry, known, networks);
            return target.userData(made.role, made.layout);
        });
        addresses.push(address);
        machines.push(
            fixedMachine(
                `${name}-${index}`,
                {
                    target,
                    kind: "balancer",
                    index,
                    machine: machineName.balancer(index),
                    userData,
                    group,
                    identity,
                    targetGroup,
                    listener,
                    orNobody: false,
                    after: index === 0 ? discovery.machines : machines.slice(-1).map(({ ready }) => ready),
                },
                parent,
            ),
        );
    }
    return {
        endpoints: nlb.dnsName.apply((host) => [`${host}:${port}`]),
        statusPages: pulumi.all(addresses).apply((all) => all.map((address) => balancerStatusUrl({ address }))),
        machines: machines.flatMap(({ instance, ready }) => [instance, ready]),
        resources: { loadBalancer: nlb.loadBalancer, securityGroup: group, targetGroup, listener },
    };
}
