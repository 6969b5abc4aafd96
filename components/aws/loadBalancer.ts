import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { ConsulCluster } from "../../roles/consul";
import { balancerStatusPort, balancerStatusUrl } from "../../roles/loadBalancer/balancer";
import { cloudLayout } from "../../roles/render/cloudInit";
import { secretsOf } from "../../roles/role";
import type { LoadBalancer, LoadBalancerArgs, LoadBalancerOutputs } from "../loadBalancer";
import { machineName } from "../machineNames";
import { balancerRole, consulCluster } from "../roles";
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
    const child = { parent, provider };
    const role = (index: number, cluster: ConsulCluster, address: string) => {
        const layout = cloudLayout(machineName.balancer(index), address);
        return {
            role: balancerRole(
                { registry: { kind: "consul", cluster }, stack, service, port, slots, drainSeconds },
                layout,
            ),
            layout,
        };
    };
    const shape = role(0, consulCluster({ datacenter: "", join: [], servers: 3, caCertificate: "" }), "0.0.0.0").role;
    const group = roleSecurityGroup(
        name,
        "balancer",
        shape.ports,
        [balancerStatusPort],
        { vpcId: network.vpcId, members: network.members, edge: edge.group },
        child,
    );
    edge.openTo(name, port, parent);
    const identity = machineIdentity(
        name,
        {
            secrets: secretsOf(shape),
            parameters: awsPartOf(discovery).parameters,
            kmsKeyArn: settings.kmsKeyArn,
            region,
        },
        child,
    );
    const { targetGroup, listener } = edge.send(
        {
            name: `${name}-targets`,
            port,
            check: { protocol: "HTTP", port: balancerStatusPort, path: "/" },
            drainSeconds,
        },
        parent,
    );
    const machines: FixedMachine[] = [];
    const addresses: pulumi.Output<string>[] = [];
    for (const index of Array(args.balancers).keys()) {
        const { address } = network.fixed("balancer", index);
        const userData = pulumi.all([discovery.cluster, address]).apply(([cluster, known]) => {
            const made = role(index, cluster, known);
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
