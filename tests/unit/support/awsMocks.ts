/** AWS's answers to the program's questions, for the mocks of `mocks.ts`. */

/** A version other than the first, so that a constant in its place would show. */
export const TEMPLATE_VERSION = 7;

/** Outputs of a resource that are not its inputs. */
export function awsOutputs(type: string, name: string, inputs: Record<string, unknown>): Record<string, unknown> {
    const outputs = { ...inputs, arn: `arn:${name}`, name: inputs.name ?? `${name}-1234567` };
    switch (type) {
        case "aws:ec2/launchTemplate:LaunchTemplate":
            return { ...outputs, latestVersion: TEMPLATE_VERSION };
        case "aws:lb/loadBalancer:LoadBalancer":
            return { ...outputs, dnsName: `${name}.elb.example.org` };
        default:
            return outputs;
    }
}

/** Subnets of a given VPC, by id. */
export const GIVEN_SUBNETS: Readonly<Record<string, { vpcId: string; cidrBlock: string; availabilityZone: string }>> = {
    "subnet-0000000000000000a": {
        vpcId: "vpc-00000000000000001",
        cidrBlock: "172.31.0.0/20",
        availabilityZone: "eu-central-1a",
    },
    "subnet-0000000000000000b": {
        vpcId: "vpc-00000000000000001",
        cidrBlock: "172.31.16.0/20",
        availabilityZone: "eu-central-1b",
    },
    "subnet-0000000000000001b": {
        vpcId: "vpc-00000000000000001",
        cidrBlock: "172.31.32.0/20",
        availabilityZone: "eu-central-1b",
    },
    "subnet-0000000000000000c": {
        vpcId: "vpc-00000000000000002",
        cidrBlock: "172.31.48.0/20",
        availabilityZone: "eu-central-1c",
    },
    "subnet-0000000000000000d": {
        vpcId: "vpc-00000000000000001",
        cidrBlock: "172.31.64.0/28",
        availabilityZone: "eu-central-1a",
    },
};

/** The answer to the program's invoke. */
export function awsAnswer(token: string, inputs: Record<string, unknown>): Record<string, unknown> {
    switch (token) {
        case "aws:ec2/getAmi:getAmi":
            return { id: "ami-00000000000000001", rootDeviceName: "/dev/xvda" };
        case "aws:ec2/getSubnet:getSubnet":
            return GIVEN_SUBNETS[String(inputs.id)] ?? {};
        case "aws:index/getPartition:getPartition":
            return { partition: "aws" };
        case "aws:index/getCallerIdentity:getCallerIdentity":
            return { accountId: "123456789012" };
        default:
            return {};
    }
}
