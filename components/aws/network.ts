import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { AwsConfig } from "../config";
import { host, ownSubnets, type Place, place, RESERVED } from "./addressing";
import { tagsOf } from "./naming";

/** A subnet that machines get fixed addresses in. */
export interface FixedSubnet {
    readonly id: pulumi.Input<string>;
    readonly cidr: pulumi.Input<string>;
}

/**
 * The network of a deployment: a VPC of its own over two or more zones, or a given one.
 *
 * An own VPC has public subnets only. The machines have public addresses for the sake of what they fetch, and security
 * groups that let nobody in: without a NAT gateway for each zone, which would cost more than most of the machines, and
 * without a single one, whose loss would stop replacement machines from booting. Who wants private subnets gives them.
 */
export class AwsNetwork extends pulumi.ComponentResource {
    readonly vpcId: pulumi.Output<string>;
    /** Of the gateways, one for each zone. */
    readonly poolSubnetIds: readonly pulumi.Input<string>[];
    /** Of the network load balancer, one for each zone. */
    readonly edgeSubnetIds: readonly pulumi.Input<string>[];
    /** Of the Consul servers and the balancers, one for each zone. */
    private readonly fixedSubnets: readonly FixedSubnet[];
    private readonly firstHost: number;
    /** What has to be there before a machine can fetch anything. */
    readonly routes: readonly pulumi.Resource[];
    /** The group that every machine is in: it stands for "the deployment" in the rules of others. */
    readonly members: aws.ec2.SecurityGroup;

    constructor(name: string, settings: AwsConfig, provider: aws.Provider) {
        super("gateway:aws:Network", name);
        const child = { parent: this, provider };
        const { network } = settings;
        if (network.kind === "own") {
            const made = this.own(name, network.cidr, network.zones ?? [], child);
            this.vpcId = made.vpc.id;
            this.poolSubnetIds = made.pool.map(({ id }) => id);
            this.edgeSubnetIds = this.poolSubnetIds;
            this.fixedSubnets = made.fixed;
            this.firstHost = RESERVED;
            this.routes = made.routes;
        } else {
            this.vpcId = pulumi.output(network.vpcId);
            this.poolSubnetIds = network.subnetIds;
            this.edgeSubnetIds = network.loadBalancerSubnetIds ?? network.subnetIds;
            this.fixedSubnets = this.given(network.vpcId, network.subnetIds, child);
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

    private own(name: string, cidr: string, zones: readonly string[], child: pulumi.CustomResourceOptions) {
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
        // An own network has room; a given one's subnets may be too small.
        throw new pulumi.RunError(`gateway:aws.network.firstHost: ${(error as Error).message}; allowed: less`);
    }
}
