import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { consulPorts } from "../../roles/consul";
import { cloudLayout } from "../../roles/render/cloudInit";
import { secretsOf } from "../../roles/role";
import { serfAgent } from "../../roles/serf";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../roles";
import type { ServiceDiscovery, ServiceDiscoveryArgs, ServiceDiscoveryOutputs } from "../serviceDiscovery";
import { type FixedMachine, fixedMachine } from "./fixedMachine";
import { type Allow, machineIdentity } from "./iam";
import { autoJoinTag } from "./naming";
import { type SecretParameters, secretParameters } from "./secrets";
import { roleSecurityGroup } from "./securityGroups";
import type { AwsTarget } from "./target";

/** What belongs to the discovery on target `aws`. */
export interface AwsServiceDiscovery {
    /** Every secret that some machine reads. */
    readonly parameters: SecretParameters;
    /** What a machine has to be allowed to do at AWS to find the others. */
    readonly rights: readonly Allow[];
    /** Refuses changes of the stack that cannot be made; what such a change would touch has to come after it. */
    readonly credentials: Credentials;
    /** Escape hatch of the Consul servers, where there are some. */
    readonly servers?: { readonly securityGroup: aws.ec2.SecurityGroup; readonly targetGroup: aws.lb.TargetGroup };
}

/** By which Consul's agents find the servers. It knows no smaller resource than all instances. */
const FIND_SERVERS: Allow = { Action: ["ec2:DescribeInstances"], Resource: "*" };

/**
 * Serf needs no machine of its own, and no right at AWS: members join the balancers, whose addresses are fixed. All that
 * there is are its two keys.
 */
export function awsSerfDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<AwsTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { target, datacenter, balancers } = args;
    const { provider, network, settings } = target;
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: [], registry: "serf" },
        { parent, provider: target.projectProvider },
    );
    const agent = serfAgent({ cluster: serfCluster([]), tags: {} }, cloudLayout("", "0.0.0.0"));
    const parameters = secretParameters(`${name}-secret`, secretsOf(agent), credentials.secrets, settings.kmsKeyArn, {
        parent,
        provider,
    });
    const addresses = [...Array(balancers).keys()].map((index) => network.fixed("balancer", index).address);
    return {
        registry: pulumi.all(addresses).apply((join) => registryBy.serf(serfCluster(join))),
        secrets: credentials.secrets,
        machines: [],
        aws: { parameters, rights: [], credentials },
    };
}

/**
 * Consul servers as instances with fixed names and addresses, one zone after the other. The next one is made, or
 * replaced, only once the last one is well; so a change never takes two at once.
 */
export function awsConsulDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<AwsTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { target, datacenter, gatewayService } = args;
    const { provider, network, edge, settings, region } = target;
    const indices = [...Array(args.servers).keys()];
    const places = indices.map((index) => network.fixed("discovery", index));
    const addresses = pulumi.all(places.map(({ address }) => address));
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses },
        { parent, provider: target.projectProvider },
    );
    const child = { parent, provider, dependsOn: [credentials] };
    const cluster = pulumi.all([addresses, credentials.caCertificate]).apply(([known, caCertificate]) =>
        consulCluster({
            datacenter,
            join: [autoJoin(target), ...known],
            servers: args.servers,
            caCertificate,
        }),
    );
    const role = (index: number, known: Parameters<typeof discoveryRole>[0], address: string) => {
        const layout = cloudLayout(machineName.discovery(index), address);
        return { role: discoveryRole(known, layout), layout };
    };
    // What does not depend on values that are known only later: ports, and which secrets there are.
    const shape = role(
        0,
        {
            cluster: consulCluster({ datacenter, join: [], servers: args.servers, caCertificate: "" }),
            certificate: "",
            gatewayService,
        },
        "0.0.0.0",
    ).role;
    const secretNames = secretsOf(shape);
    const parameters = secretParameters(`${name}-secret`, secretNames, credentials.secrets, settings.kmsKeyArn, child);
    const group = roleSecurityGroup(
        name,
        "discovery",
        shape.ports,
        [consulPorts.https],
        { vpcId: network.vpcId, members: network.members, edge: edge.group },
        child,
    );
    const identity = machineIdentity(
        name,
        { secrets: secretNames, parameters, kmsKeyArn: settings.kmsKeyArn, region, more: [FIND_SERVERS] },
        child,
    );
    const { targetGroup, listener } = edge.send(
        {
            name: `${name}-targets`,
            port: consulPorts.https,
            // Answered only by a server that knows the leader; what is in the catalog it shows to nobody without a token.
            check: { protocol: "HTTPS", port: consulPorts.https, path: "/v1/catalog/services" },
            drainSeconds: 0,
        },
        child,
    );
    const machines: FixedMachine[] = [];
    for (const index of indices) {
        const userData = pulumi
            .all([cluster, credentials.serverCertificate, places[index]?.address ?? ""])
            .apply(([known, certificate, address]) => {
                const made = role(index, { cluster: known, certificate, gatewayService }, address);
                return target.userData(made.role, made.layout);
            });
        machines.push(
            fixedMachine(
                `${name}-${index}`,
                {
                    target,
                    kind: "discovery",
                    index,
                    machine: machineName.discovery(index),
                    userData,
                    group,
                    identity,
                    targetGroup,
                    listener,
                    tags: { [autoJoinTag.key]: autoJoinTag.value() },
                    // There is a leader only once all of them are up, so the last one has to be well in any case.
                    orNobody: index < args.servers - 1,
                    after: machines.slice(-1).map(({ ready }) => ready),
                },
                parent,
            ),
        );
    }
    return {
        registry: cluster.apply(registryBy.consul),
        consul: {
            cluster,
            api: addresses.apply((known) => known.map(consulApiAt)),
            ui: addresses.apply(([first = ""]) => `https://${consulApiAt(first)}/ui`),
        },
        secrets: credentials.secrets,
        machines: machines.flatMap(({ instance, ready }) => [instance, ready]),
        aws: {
            parameters,
            rights: [FIND_SERVERS],
            credentials,
            servers: { securityGroup: group, targetGroup },
        },
    };
}

/** Consul's expression for "the instances with our tag". The servers' own addresses stand behind it, should EC2 not answer. */
function autoJoin({ region, machineApi }: AwsTarget): string {
    return [
        "provider=aws",
        `region=${region}`,
        `tag_key=${autoJoinTag.key}`,
        `tag_value=${autoJoinTag.value()}`,
        "addr_type=private_v4",
        ...(machineApi === undefined ? [] : [`endpoint=${machineApi}`]),
    ].join(" ");
}

/** What belongs to a discovery on target `aws`. @throws Error for one on another target: our mistake. */
export function awsPartOf(discovery: ServiceDiscovery): AwsServiceDiscovery {
    if (!discovery.aws) throw new Error("the discovery is on another target");
    return discovery.aws;
}
