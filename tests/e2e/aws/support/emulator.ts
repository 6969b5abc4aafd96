/** The emulator of AWS's API: moto with the corrections and stand-ins of `../emulator`. */
import { join } from "node:path";
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from "@aws-sdk/client-auto-scaling";
import {
    DescribeInstancesCommand,
    DescribeInternetGatewaysCommand,
    DescribeLaunchTemplatesCommand,
    DescribeNetworkInterfacesCommand,
    DescribeRouteTablesCommand,
    DescribeSecurityGroupsCommand,
    DescribeSubnetsCommand,
    DescribeVolumesCommand,
    DescribeVpcsCommand,
    EC2Client,
} from "@aws-sdk/client-ec2";
import {
    DescribeLoadBalancersCommand,
    DescribeTargetGroupsCommand,
    ElasticLoadBalancingV2Client,
} from "@aws-sdk/client-elastic-load-balancing-v2";
import { DescribeParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import { Moto } from "../../support/moto";

/** The region of every client. The emulator's stand-ins work only there. */
export const region = "eu-central-1";
/** The folder in which moto and its stand-ins start. */
const FOLDER = join(__dirname, "../emulator");

/** Clients of EC2, AutoScaling and so on. Any credentials will do. */
export interface Clients {
    readonly ec2: EC2Client;
    readonly scaling: AutoScalingClient;
    readonly balancing: ElasticLoadBalancingV2Client;
    readonly parameters: SSMClient;
}

/** The running emulator. */
export class Emulator {
    private constructor(
        /** URL of the API. */
        readonly url: string,
        readonly clients: Clients,
        private readonly moto: Moto,
    ) {}

    /**
     * Starts it.
     *
     * @param log the file for its errors.
     */
    static async start(address: string, port: number, log: string): Promise<Emulator> {
        const url = `http://${address}:${port}`;
        const moto = await Moto.start(url, ["-m", "fleet", address, String(port)], log, FOLDER);
        const settings = { region, endpoint: url, credentials: { accessKeyId: "test", secretAccessKey: "test" } };
        const clients = {
            ec2: new EC2Client(settings),
            scaling: new AutoScalingClient(settings),
            balancing: new ElasticLoadBalancingV2Client(settings),
            parameters: new SSMClient(settings),
        };
        return new Emulator(url, clients, moto);
    }

    /** Plays EC2: recommends that AutoScaling replace a spot instance. */
    async recommendRebalance(instance: string): Promise<void> {
        const answer = await fetch(`${this.url}/stand-in/rebalance/${instance}`, { method: "POST" });
        if (!answer.ok) throw new Error(`the emulator answers ${answer.status}`);
    }

    /** The ids of everything in it of the kinds that a deployment creates; instances only while they run. */
    async inventory(): Promise<string[]> {
        const { ec2, scaling, balancing, parameters } = this.clients;
        const running = { Name: "instance-state-name", Values: ["running", "stopped"] };
        const found = await Promise.all([
            ec2.send(new DescribeVpcsCommand({})).then(({ Vpcs }) => Vpcs?.map(({ VpcId }) => VpcId)),
            ec2.send(new DescribeSubnetsCommand({})).then(({ Subnets }) => Subnets?.map(({ SubnetId }) => SubnetId)),
            ec2
                .send(new DescribeInternetGatewaysCommand({}))
                .then(({ InternetGateways }) => InternetGateways?.map(({ InternetGatewayId }) => InternetGatewayId)),
            ec2
                .send(new DescribeRouteTablesCommand({}))
                .then(({ RouteTables }) => RouteTables?.map(({ RouteTableId }) => RouteTableId)),
            ec2
                .send(new DescribeSecurityGroupsCommand({}))
                .then(({ SecurityGroups }) => SecurityGroups?.map(({ GroupId }) => GroupId)),
            ec2
                .send(new DescribeNetworkInterfacesCommand({}))
                .then(({ NetworkInterfaces }) =>
                    NetworkInterfaces?.map(({ NetworkInterfaceId }) => NetworkInterfaceId),
                ),
            ec2.send(new DescribeVolumesCommand({})).then(({ Volumes }) => Volumes?.map(({ VolumeId }) => VolumeId)),
            ec2
                .send(new DescribeLaunchTemplatesCommand({}))
                .then(({ LaunchTemplates }) => LaunchTemplates?.map(({ LaunchTemplateId }) => LaunchTemplateId)),
            ec2
                .send(new DescribeInstancesCommand({ Filters: [running] }))
                .then(({ Reservations }) =>
                    Reservations?.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId)),
                ),
            scaling
                .send(new DescribeAutoScalingGroupsCommand({}))
                .then(({ AutoScalingGroups }) =>
                    AutoScalingGroups?.map(({ AutoScalingGroupARN }) => AutoScalingGroupARN),
                ),
            balancing
                .send(new DescribeLoadBalancersCommand({}))
                .then(({ LoadBalancers }) => LoadBalancers?.map(({ LoadBalancerArn }) => LoadBalancerArn)),
            balancing
                .send(new DescribeTargetGroupsCommand({}))
                .then(({ TargetGroups }) => TargetGroups?.map(({ TargetGroupArn }) => TargetGroupArn)),
            parameters
                .send(new DescribeParametersCommand({}))
                .then(({ Parameters }) => Parameters?.map(({ Name }) => Name)),
            this.identities(),
        ]);
        return found.flatMap((ids) => (ids ?? []).flatMap((id) => id ?? [])).sort();
    }

    /** Roles and instance profiles. It works without another library. */
    private async identities(): Promise<string[]> {
        const scope = `${region}/iam/aws4_request`;
        const authorization = `AWS4-HMAC-SHA256 Credential=test/20260101/${scope}, SignedHeaders=host, Signature=none`;
        const answers = await Promise.all(
            ["ListRoles", "ListInstanceProfiles"].map(async (action) => {
                const body = new URLSearchParams({ Action: action, Version: "2010-05-08" });
                const answer = await fetch(this.url, { method: "POST", headers: { authorization }, body });
                if (!answer.ok) throw new Error(`${action}: the emulator answers ${answer.status}`);
                return answer.text();
            }),
        );
        return answers.flatMap((xml) => [...xml.matchAll(/<Arn>(.*?)<\/Arn>/g)].map(([, arn = ""]) => arn));
    }

    /** Ends it, with its whole content. */
    async stop(): Promise<void> {
        for (const client of Object.values(this.clients)) client.destroy();
        await this.moto.stop();
    }
}
