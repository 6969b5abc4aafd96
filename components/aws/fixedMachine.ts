import * as aws from "@pulumi/aws";
import type * as pulumi from "@pulumi/pulumi";
import type { AwsContext } from "./context";
import type { MachineIdentity } from "./iam";
import { commonTags } from "./naming";
import { AwsReadiness } from "./readiness";

/** A machine with a fixed name and address. */
export interface FixedMachineArgs {
    readonly target: AwsContext;
    readonly kind: "discovery" | "balancer";
    readonly index: number;
    /** Its name, for instance `consul-0`. */
    readonly machine: string;
    readonly userData: pulumi.Input<string>;
    readonly group: aws.ec2.SecurityGroup;
    readonly identity: MachineIdentity;
    /** Where the network load balancer checks it. */
    readonly targetGroup: aws.lb.TargetGroup;
    readonly listener: aws.lb.Listener;
    readonly tags?: Readonly<Record<string, string>>;
    /** Whether others may be created before this one is healthy, as long as none is. */
    readonly orNobody: boolean;
    /** What must exist first. */
    readonly after: readonly pulumi.Resource[];
}

/** What is made for a {@link FixedMachineArgs}. */
export interface FixedMachine {
    readonly instance: aws.ec2.Instance;
    /** Depend on this to wait until the machine is healthy. */
    readonly ready: AwsReadiness;
}

/** Time from a machine's start until AWS finds it healthy, seconds: AutoScaling's grace period. */
export const BOOT_SECONDS = 600;

/** Settings of the metadata service that every machine has: sessions only, and not from inside a container. */
export const metadataOptions = {
    httpEndpoint: "enabled",
    httpTokens: "required",
    httpPutResponseHopLimit: 1,
} as const;

/**
 * An instance that is replaced as a whole, in place: the old one goes first, because both have the same address and
 * name. Nothing of it must be kept: Consul's servers get their state from each other, and balancers have none.
 */
export function fixedMachine(name: string, args: FixedMachineArgs, parent: pulumi.Resource): FixedMachine {
    const { target, machine, identity } = args;
    const { settings, network, image, names } = target;
    const child = { parent };
    const where = network.fixed(args.kind, args.index);
    const instance = new aws.ec2.Instance(
        name,
        {
            ami: image.id,
            instanceType: settings.fixedInstanceType as aws.ec2.InstanceType,
            subnetId: where.subnet.id,
            privateIp: where.address,
            vpcSecurityGroupIds: [network.members.id, args.group.id],
            iamInstanceProfile: identity.profile.name,
            userDataBase64: args.userData,
            userDataReplaceOnChange: true,
            metadataOptions,
            rootBlockDevice: {
                volumeType: "gp3",
                volumeSize: settings.volumeGib,
                encrypted: true,
                deleteOnTermination: true,
                ...(settings.kmsKeyArn ? { kmsKeyId: settings.kmsKeyArn } : {}),
                tags: { ...commonTags(settings), ...names.tagsOf(machine) },
            },
            ...(settings.keyName ? { keyName: settings.keyName } : {}),
            tags: { ...names.tagsOf(machine), ...args.tags },
        },
        { ...child, deleteBeforeReplace: true, dependsOn: [...network.routes, identity.policy, ...args.after] },
    );
    const attachment = new aws.lb.TargetGroupAttachment(
        `${name}-attachment`,
        { targetGroupArn: args.targetGroup.arn, targetId: instance.id },
        { ...child, deleteBeforeReplace: true },
    );
    const ready = new AwsReadiness(
        `${name}-ready`,
        {
            region: target.region,
            endpoint: settings.emulator?.api ?? "",
            targetGroupArn: args.targetGroup.arn,
            wanted: instance.id.apply(
                (instanceId) => ({ kind: "instance", instanceId, orNobody: args.orNobody }) as const,
            ),
            timeoutSeconds: BOOT_SECONDS,
        },
        { ...child, dependsOn: [attachment, args.listener] },
    );
    return { instance, ready };
}
