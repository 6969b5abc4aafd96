import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { balancerStatusPort, balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { cloudLayout } from "../../roles/render/cloudInit";
import { secretsOf } from "../../roles/role";
import type { LoadBalancer, LoadBalancerArgs, LoadBalancerOutputs } from "../loadBalancer";
import { machineName } from "../machineNames";
import { balancerRole, type Registry, unknownRegistry } from "../roles";
import { type FixedMachine, fixedMachine } from "./fixedMachine";
import { machineIdentity } from "./iam";
import { roleSecurityGroup } from "./securityGroups";
import { awsPartOf } from "./serviceDiscovery";
import type { AwsTarget } from "./target";

/** Escape hatch of the balancers on target `aws`. */
export interface AwsLoadBalancer {
    readonly loadBalancer: aws.lb.LoadBalancer;
    readonly securityGroup: aws.ec2.SecurityGroup;
    readonly targetGroup: aws.lb.TargetGroup;
    readonly listener: aws.lb.Listener;
}

/**
 * Balancers as instances with fixed names and addresses, one zone after the other, behind the network load balancer; one
 * is replaced only once the last one is well.
 */
export function awsLoadBalancer(
    name: string,
    args: LoadBalancerArgs<AwsTarget>,
    parent: pulumi.Resource,
): LoadBalancerOutputs {
    const { target, discovery, stack, service, port, slots, drainSeconds } = args;
    const { provider, network, edge, settings, region } = target;
    const { parameters, rights, credentials } = awsPartOf(discovery);
    const child = { parent, provider, dependsOn: [credentials] };
    const role = (index: number, registry: Registry, address: string) => {
        const layout = cloudLayout(machineName.balancer(index), address);
        return { role: balancerRole({ registry, stack, service, port, slots, drainSeconds }, layout), layout };
    };
    const shape = role(0, unknownRegistry(discovery), "0.0.0.0").role;
    const group = roleSecurityGroup(
        name,
        "balancer",
        shape.ports,
        [balancerStatusPort],
        { vpcId: network.vpcId, members: network.members, edge: edge.group },
        child,
    );
    edge.openTo(name, port, child);
    const identity = machineIdentity(
        name,
        { secrets: secretsOf(shape), parameters, kmsKeyArn: settings.kmsKeyArn, region, more: rights },
        child,
    );
    const { targetGroup, listener } = edge.send(
        {
            name: `${name}-targets`,
            port,
            // The same for every stack, or a change of the stack would make those ill that are not changed yet. HAProxy shows its
            // status here; Fabio, once it has registered itself in Consul, sends on to its list of routes.
            check: { protocol: "HTTP", port: balancerStatusPort, path: "/" },
            drainSeconds,
        },
        child,
    );
    const machines: FixedMachine[] = [];
    const addresses: pulumi.Output<string>[] = [];
    for (const index of Array(args.balancers).keys()) {
        const { address } = network.fixed("balancer", index);
        const userData = pulumi.all([discovery.registry, address]).apply(([registry, known]) => {
            const made = role(index, registry, known);
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
        endpoints: edge.dnsName.apply((host) => [`${host}:${port}`]),
        statusPages: pulumi.all(addresses).apply((all) => all.map((address) => balancerStatusUrl({ address }))),
        machines: machines.flatMap(({ instance, ready }) => [instance, ready]),
        aws: { loadBalancer: edge.loadBalancer, securityGroup: group, targetGroup, listener },
    };
}

/** What belongs to the balancers on target `aws`. @throws Error for those on another target: our mistake. */
export function awsPartOfBalancers(balancers: LoadBalancer): AwsLoadBalancer {
    if (!balancers.aws) throw new Error("the balancers are on another target");
    return balancers.aws;
}
