import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { consulPorts } from "../../roles/consul";
import { cloudLayout } from "../../roles/render/cloudInit";
import { secretsOf } from "../../roles/role";
import { Credentials } from "../credentials/credentials";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole } from "../roles";
import type { ServiceDiscovery, ServiceDiscoveryArgs, ServiceDiscoveryOutputs } from "../serviceDiscovery";
import { type FixedMachine, fixedMachine } from "./fixedMachine";
import { machineIdentity } from "./iam";
import { autoJoinTag } from "./naming";
import { type SecretParameters, secretParameters } from "./secrets";
import { roleSecurityGroup } from "./securityGroups";
import type { AwsTarget } from "./target";

/** Escape hatch of the Consul servers on target `aws`. */
export interface AwsServiceDiscovery {
    /** Every secret that some machine reads. */
    readonly parameters: SecretParameters;
    readonly securityGroup: aws.ec2.SecurityGroup;
    readonly targetGroup: aws.lb.TargetGroup;
}

/**
 * Consul servers as instances with fixed names and addresses, one zone after the other. The next one is made, or
 * replaced, only once the last one is well; so a change never takes two at once.
 */
export function awsServiceDiscovery(
    name: string,
    args: ServiceDiscoveryArgs<AwsTarget>,
    parent: pulumi.Resource,
): ServiceDiscoveryOutputs {
    const { target, datacenter, gatewayService } = args;
    const { provider, network, edge, settings, region } = target;
    const child = { parent, provider };
    const indices = [...Array(args.servers).keys()];
    const places = indices.map((index) => network.fixed("discovery", index));
    const addresses = pulumi.all(places.map(({ address }) => address));
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses },
        { parent, provider: target.projectProvider },
    );
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
        { secrets: secretNames, parameters, kmsKeyArn: settings.kmsKeyArn, region },
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
        parent,
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
        cluster,
        api: addresses.apply((known) => known.map(consulApiAt)),
        ui: addresses.apply(([first = ""]) => `https://${consulApiAt(first)}/ui`),
        secrets: credentials.secrets,
        machines: machines.flatMap(({ instance, ready }) => [instance, ready]),
        aws: { parameters, securityGroup: group, targetGroup },
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
