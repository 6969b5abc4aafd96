import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { cloudLayout } from "../../programs/boot/description";
import { consulPorts } from "../../roles/consul";
import { secretsOf } from "../../roles/role";
import { serfAgent } from "../../roles/serf";
import { Credentials } from "../credentials/credentials";
import { randomKeys } from "../credentials/randomKeys";
import { machineName } from "../machineNames";
import { consulApiAt, consulCluster, discoveryRole, registryBy, serfCluster } from "../machineRoles";
import type { DiscoveryArgs, DiscoveryOutputs } from "../target";
import type { AwsContext } from "./context";
import { type FixedMachine, fixedMachine } from "./fixedMachine";
import { type Allow, machineIdentity } from "./iam";
import { type SecretParameters, secretParameters } from "./secrets";
import { roleSecurityGroup } from "./securityGroups";

/** What belongs to the discovery on target `aws`. */
export interface AwsServiceDiscovery {
    /** Every secret that some machine reads. */
    readonly parameters: SecretParameters;
    /** The rights at AWS that a machine needs to find the others. */
    readonly rights: readonly Allow[];
    /** Refuses stack changes that cannot be made. Whatever such a change would touch depends on it. */
    readonly credentials: Credentials;
    /** Escape hatch of the Consul servers, where there are some. */
    readonly servers?: { readonly securityGroup: aws.ec2.SecurityGroup; readonly targetGroup: aws.lb.TargetGroup };
}

/** The right by which Consul's agents find the servers. It cannot be limited to fewer than all instances. */
const FIND_SERVERS: Allow = { Action: ["ec2:DescribeInstances"], Resource: "*" };

/**
 * Serf needs no machine of its own and no right at AWS: members join the balancers, whose addresses are fixed. It only
 * has two keys.
 */
export function awsSerfDiscovery(
    target: AwsContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<AwsServiceDiscovery> {
    const { datacenter, balancers } = args;
    const { network, settings, names } = target;
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: [], registry: "serf", keys: randomKeys(`${name}-keys`, { parent }) },
        { parent },
    );
    const agent = serfAgent({ cluster: serfCluster([]), tags: {} }, cloudLayout("", "0.0.0.0"));
    const parameters = secretParameters(
        `${name}-secret`,
        secretsOf(agent),
        credentials.secrets,
        names.secretPrefix,
        settings.kmsKeyArn,
        { parent },
    );
    const addresses = [...Array(balancers).keys()].map((index) => network.fixed("balancer", index).address);
    return {
        registry: pulumi.all(addresses).apply((join) => registryBy.serf(serfCluster(join))),
        secrets: credentials.secrets,
        machines: [],
        resources: { parameters, rights: [], credentials },
    };
}

/**
 * Consul servers as instances with fixed names and addresses, one zone after the other. The next one is created or
 * replaced only once the previous one is healthy, so a change never takes two at once.
 */
export function awsConsulDiscovery(
    target: AwsContext,
    name: string,
    args: DiscoveryArgs,
    parent: pulumi.Resource,
): DiscoveryOutputs<AwsServiceDiscovery> {
    const { datacenter, gatewayService } = args;
    const { network, nlb, settings, files, names } = target;
    const indices = [...Array(args.servers).keys()];
    const places = indices.map((index) => network.fixed("discovery", index));
    const addresses = pulumi.all(places.map(({ address }) => address));
    const credentials = new Credentials(
        `${name}-credentials`,
        { datacenter, servers: addresses, gatewayService, keys: randomKeys(`${name}-keys`, { parent }) },
        { parent },
    );
    const child = { parent, dependsOn: [credentials] };
    const cluster = pulumi.all([addresses, credentials.caCertificate]).apply(([known, caCertificate]) =>
        consulCluster({
            datacenter,
            join: [autoJoin(target), ...known],
            servers: args.servers,
            caCertificate,
        }),
    );
    const role = (index: number, known: Parameters<typeof discoveryRole>[1], address: string) => {
        const layout = cloudLayout(machineName.discovery(index), address);
        return { role: discoveryRole(files, known, layout), layout };
    };
    // What does not depend on values that are known only later: the ports and the names of the secrets.
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
    const parameters = secretParameters(
        `${name}-secret`,
        secretNames,
        credentials.secrets,
        names.secretPrefix,
        settings.kmsKeyArn,
        child,
    );
    const group = roleSecurityGroup(
        name,
        "discovery",
        shape.ports,
        [consulPorts.https],
        { vpcId: network.vpcId, members: network.members, nlb: nlb.group, tags: names.tagsOf("discovery") },
        child,
    );
    const identity = machineIdentity(name, target, { secrets: secretNames, parameters, more: [FIND_SERVERS] }, child);
    const { targetGroup, listener } = nlb.send(
        {
            name: `${name}-targets`,
            port: consulPorts.https,
            // Only a server with a known leader answers this, and it shows nothing of the catalog to anybody without a
            // token.
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
                    tags: { [names.autoJoin.key]: names.autoJoin.value },
                    // There is a leader only once all of them are up, so the last one must be healthy in any case.
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
        resources: {
            parameters,
            rights: [FIND_SERVERS],
            credentials,
            servers: { securityGroup: group, targetGroup },
        },
    };
}

/**
 * Consul's auto-join expression for the instances with our tag. The servers' own addresses follow, in case EC2 does not
 * answer.
 */
function autoJoin({ region, machineApi, names }: AwsContext): string {
    return [
        "provider=aws",
        `region=${region}`,
        `tag_key=${names.autoJoin.key}`,
        `tag_value=${names.autoJoin.value}`,
        "addr_type=private_v4",
        ...(machineApi === undefined ? [] : [`endpoint=${machineApi}`]),
    ].join(" ");
}
