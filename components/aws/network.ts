import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../../config";
import { host, ownSubnets, type Place, place, RESERVED } from "./addressing";
import type { AwsNames } from "./naming";

/** A subnet for machines with fixed addresses. */
export interface FixedSubnet {
    readonly id: pulumi.Input<string>;
    readonly cidr: pulumi.Input<string>;
}

/**
 * The network of a deployment: its own VPC over two or more zones, or a given one.
 *
 * An own VPC has public subnets only. The machines have public addresses to download what they need, and security
 * groups that let nobody in. A NAT gateway for each zone would cost more than most of the machines, and the loss of a
 * single one would stop replacement machines from booting. For private subnets, use a given network.
 */
export class AwsNetwork extends pulumi.ComponentResource {
    readonly vpcId: pulumi.Output<string>;
    /** Subnets of the gateways, one for each zone. */
    readonly poolSubnetIds: readonly pulumi.Input<string>[];
    /** Where the gateways' addresses are, in CIDR notation. */
    readonly gatewayNetworks: pulumi.Output<string[]>;
    /** Subnets of the network load balancer, one for each zone. */
    readonly edgeSubnetIds: readonly pulumi.Input<string>[];
    /** Subnets of the Consul servers and the balancers, one for each zone. */
    private readonly fixedSubnets: readonly FixedSubnet[];
    private readonly firstHost: number;
    /** What must exist before a machine can download anything. */
    readonly routes: readonly pulumi.Resource[];
    /** The security group of all machines: other groups' rules use it for "the deployment". */
    readonly members: aws.ec2.SecurityGroup;

    constructor(
        name: string,
        { settings: { network }, names }: { readonly settings: AwsConfig; readonly names: AwsNames },
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("gateway:aws:Network", name, {}, opts);
        const child = { parent: this };
        const { tagsOf } = names;
        if (network.kind === "own") {
            const made = this.own(name, network.cidr, network.zones ?? [], names);
            this.vpcId = made.vpc.id;
            this.poolSubnetIds = made.pool.map(({ id }) => id);
            this.gatewayNetworks = pulumi.output([network.cidr]);
            this.edgeSubnetIds = this.poolSubnetIds;
            this.fixedSubnets = made.fixed;
            this.firstHost = RESERVED;
            this.routes = made.routes;
        } else {
            this.vpcId = pulumi.output(network.vpcId);
            this.poolSubnetIds = network.subnetIds;
            this.edgeSubnetIds = network.loadBalancerSubnetIds ?? network.subnetIds;
            this.fixedSubnets = this.given(network.vpcId, network.subnetIds, child);
            this.gatewayNetworks = pulumi.all(this.fixedSubnets.map(({ cidr }) => cidr));
            this.firstHost = network.firstHost;
            this.routes = [];
        }
        this.members = new aws.ec2.SecurityGroup(
            `${name}-members`,
            {
                vpcId: this.vpcId,
                description: "All machines of the deployment: what they may call",
                tags: tagsOf("members"),
            },
            child,
        );
        this.registerOutputs({ vpcId: this.vpcId });
    }

    private own(name: string, cidr: string, zones: readonly string[], { tagsOf }: AwsNames) {
        const child = { parent: this };
        const vpc = new aws.ec2.Vpc(
            `${name}-vpc`,
            { cidrBlock: cidr, enableDnsSupport: true, enableDnsHostnames: true, tags: tagsOf("vpc") },
            child,
        );
        const internet = new aws.ec2.InternetGateway(
            `${name}-internet`,
            { vpcId: vpc.id, tags: tagsOf("internet") },
            child,
        );
        const table = new aws.ec2.RouteTable(`${name}-routes`, { vpcId: vpc.id, tags: tagsOf("routes") }, child);
        const route = new aws.ec2.Route(
            `${name}-default-route`,
            { routeTableId: table.id, destinationCidrBlock: "0.0.0.0/0", gatewayId: internet.id },
            child,
        );
        const plan = ownSubnets(cidr, zones);
        const routes: pulumi.Resource[] = [route];
        const make = (kind: "pool" | "fixed") =>
            plan.map((each, index) => {
                const subnet = new aws.ec2.Subnet(
                    `${name}-${kind}-${index}`,
                    {
                        vpcId: vpc.id,
                        cidrBlock: each[kind],
                        availabilityZone: each.zone,
                        mapPublicIpOnLaunch: true,
                        tags: tagsOf(`${kind}-${each.zone}`),
                    },
                    child,
                );
                routes.push(
                    new aws.ec2.RouteTableAssociation(
                        `${name}-${kind}-${index}`,
                        { subnetId: subnet.id, routeTableId: table.id },
                        child,
                    ),
                );
                return subnet;
            });
        const fixed = make("fixed").map(({ id }, index) => ({ id, cidr: plan[index]?.fixed ?? "" }));
        return { vpc, pool: make("pool"), fixed, routes };
    }

    private given(vpcId: string, ids: readonly string[], child: pulumi.InvokeOptions): FixedSubnet[] {
        const known = ids.map((id) => aws.ec2.getSubnetOutput({ id }, child));
        const zones = pulumi.all(known.map(({ availabilityZone }) => availabilityZone));
        return ids.map((id, index) => ({
            id,
            cidr: pulumi.all([known[index] as pulumi.Output<aws.ec2.GetSubnetResult>, zones]).apply(([subnet, all]) => {
                const { availabilityZone } = subnet;
                if (subnet.vpcId !== vpcId) {
                    throw new pulumi.RunError(
                        `gateway:aws.network.subnetIds[${index}]: ${id} is in ${subnet.vpcId}, not in ${vpcId}`,
                    );
                }
                if (all.indexOf(availabilityZone) !== index) {
                    throw new pulumi.RunError(
                        `gateway:aws.network.subnetIds[${index}]: ${id} is in ${availabilityZone}, as another one is; ` +
                            "allowed: subnets that are each in another zone",
                    );
                }
                return subnet.cidrBlock;
            }),
        }));
    }

    /** Subnet and address of the `index`th machine of a kind. */
    fixed(
        kind: "discovery" | "balancer",
        index: number,
    ): Place & { subnet: FixedSubnet; address: pulumi.Output<string> } {
        const where = place(kind, index, this.fixedSubnets.length, this.firstHost);
        const subnet = this.fixedSubnets[where.zone] as FixedSubnet;
        return { ...where, subnet, address: pulumi.output(subnet.cidr).apply((cidr) => addressIn(cidr, where.host)) };
    }
}

function addressIn(cidr: string, index: number): string {
    try {
        return host(cidr, index);
    } catch (error) {
        // An own network has room. The subnets of a given one may be too small.
        throw new pulumi.RunError(`gateway:aws.network.firstHost: ${(error as Error).message}; allowed: less`);
    }
}
