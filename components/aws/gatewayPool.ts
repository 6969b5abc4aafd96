import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { GatewayService } from "../../config";
import { cloudLayout } from "../../programs/boot/description";
import type { LifecycleHook } from "../../programs/instance-watcher/settings";
import { instanceRef } from "../../programs/machine";
import { defaultPolicy, resolvePolicy } from "../../replacement/core/policy";
import { gatewayHealthPort } from "../../roles/gatewayHealth";
import { instanceWatcher } from "../../roles/instanceWatcher";
import { mergeRoles, secretsOf } from "../../roles/role";
import { gatewayRole, type Registry, unknownRegistry } from "../machineRoles";
import type { PoolArgs, PoolOutputs } from "../target";
import { compileAutoScaling } from "./autoScalingPolicy";
import type { AwsContext } from "./context";
import { metadataOptions } from "./fixedMachine";
import { machineIdentity } from "./iam";
import type { AwsLoadBalancer } from "./loadBalancer";
import { commonTags } from "./naming";
import { AwsReadiness } from "./readiness";
import { roleSecurityGroup } from "./securityGroups";
import type { AwsServiceDiscovery } from "./serviceDiscovery";

/** Escape hatch of the pool on target `aws`. */
export interface AwsGatewayPool {
    readonly group: aws.autoscaling.Group;
    readonly launchTemplate: aws.ec2.LaunchTemplate;
    readonly securityGroup: aws.ec2.SecurityGroup;
    /** No client uses it: through it AWS sees which gateways are healthy. */
    readonly healthTargetGroup: aws.lb.TargetGroup;
}

/** The name of the hook that holds a gateway's instance until it has drained. */
const DRAIN_HOOK = "drain";
/** Seconds that the lifecycle hook waits beyond the drain itself. */
const DRAIN_MARGIN = 60;
/** AWS's limits of a hook's heartbeat, seconds. */
const HEARTBEAT = { least: 30, most: 7200 } as const;
/** During an instance refresh: never fewer than the pool's size, and up to half as many more. */
const HEALTHY_PERCENTAGE = { min: 100, max: 150 } as const;
/** How long a new instance must be healthy before the next one is replaced, seconds. */
const WARMUP_SECONDS = 30;
/** A roll-out pauses here for inspection, percent of the pool, and continues by itself. */
const CHECKPOINTS = [50, 100] as const;

/**
 * Gateways as an AutoScaling group over all zones, of spot instances if wanted. AWS replaces instances that the health
 * endpoint reports unhealthy, instances that it reclaims, and, in turns, all of them if their description changes.
 */
export function awsGatewayPool(
    target: AwsContext,
    name: string,
    args: PoolArgs<AwsServiceDiscovery, AwsLoadBalancer>,
    parent: pulumi.Resource,
): PoolOutputs<AwsGatewayPool> {
    const { service, discovery, balancers, size } = args;
    const { network, nlb, settings, image, region, files, names } = target;
    const { parameters, rights, credentials } = discovery.resources;
    const child = { parent, dependsOn: [credentials] };
    // Known in advance, because the instances' rights and settings name it.
    const groupName = `${names.stack}-${name}`;
    const hook: LifecycleHook = {
        name: DRAIN_HOOK,
        group: groupName,
        region,
        ...(target.machineApi === undefined ? {} : { endpoint: target.machineApi }),
    };
    const layout = cloudLayout(`gw-${instanceRef("id")}`, instanceRef("address"));
    const role = (registry: Registry) =>
        mergeRoles(
            "gateway",
            gatewayRole(files, { registry, service, balancers }, layout),
            instanceWatcher(
                { drain: ["gateway"], health: ["gateway-health"], hook, bundle: files.bundle("instance-watcher") },
                layout,
            ),
        );
    const shape = role(unknownRegistry(discovery));
    const securityGroup = roleSecurityGroup(
        name,
        "gateway",
        shape.ports,
        [gatewayHealthPort],
        { vpcId: network.vpcId, members: network.members, nlb: nlb.group, tags: names.tagsOf("gateway") },
        child,
    );
    const identity = machineIdentity(
        name,
        target,
        {
            secrets: secretsOf(shape),
            parameters,
            more: [
                ...rights,
                { Action: ["autoscaling:CompleteLifecycleAction"], Resource: groupArn(groupName, target, parent) },
            ],
        },
        child,
    );
    const { targetGroup, listener } = nlb.send(
        {
            name: `${name}-health`,
            port: gatewayHealthPort,
            check: { protocol: "HTTP", port: gatewayHealthPort, path: "/health" },
            drainSeconds: 0,
        },
        child,
    );
    const tags = { ...commonTags(settings), ...names.tagsOf("gateway") };
    const launchTemplate = new aws.ec2.LaunchTemplate(
        `${name}-template`,
        {
            description: "A gateway",
            imageId: image.id,
            iamInstanceProfile: { arn: identity.profile.arn },
            vpcSecurityGroupIds: [network.members.id, securityGroup.id],
            userData: discovery.registry.apply((registry) => target.userData(role(registry), layout)),
            metadataOptions,
            blockDeviceMappings: [
                {
                    deviceName: image.rootDevice,
                    ebs: {
                        volumeType: "gp3",
                        volumeSize: settings.volumeGib,
                        encrypted: "true",
                        deleteOnTermination: "true",
                        ...(settings.kmsKeyArn ? { kmsKeyId: settings.kmsKeyArn } : {}),
                    },
                },
            ],
            ...(settings.keyName ? { keyName: settings.keyName } : {}),
            // The provider's default tags do not apply here.
            tagSpecifications: ["instance", "volume"].map((resourceType) => ({ resourceType, tags })),
            updateDefaultVersion: true,
            tags: names.tagsOf("gateway"),
        },
        child,
    );
    const version = launchTemplate.latestVersion.apply(String);
    const { targetTracking } = settings;
    const policy = resolvePolicy(defaultPolicy, args.replacement ?? {});
    const compiled = compileAutoScaling(policy, { size });
    const group = new aws.autoscaling.Group(
        name,
        {
            name: groupName,
            minSize: size,
            desiredCapacity: size,
            // Room for new instances that launch before old ones go.
            maxSize: targetTracking?.maxSize ?? Math.ceil((size * HEALTHY_PERCENTAGE.max) / 100),
            vpcZoneIdentifiers: [...network.poolSubnetIds],
            mixedInstancesPolicy: {
                instancesDistribution: {
                    onDemandBaseCapacity: settings.onDemandBase,
                    onDemandPercentageAboveBaseCapacity: settings.spot ? 0 : 100,
                    onDemandAllocationStrategy: "prioritized",
                    spotAllocationStrategy: "price-capacity-optimized",
                    ...(settings.spotMaxPrice === undefined ? {} : { spotMaxPrice: String(settings.spotMaxPrice) }),
                },
                launchTemplate: {
                    // A number: with "$Latest" a change of the template would roll nothing.
                    launchTemplateSpecification: { launchTemplateId: launchTemplate.id, version },
                    overrides: settings.instanceTypes.map((instanceType) => ({ instanceType })),
                },
            },
            // AWS announces that it reclaims a spot instance: its successor launches first.
            capacityRebalance: true,
            instanceMaintenancePolicy: {
                minHealthyPercentage: HEALTHY_PERCENTAGE.min,
                maxHealthyPercentage: HEALTHY_PERCENTAGE.max,
            },
            // "EC2" would only check that the machine has power.
            healthCheckType: "ELB",
            healthCheckGracePeriod: compiled.settings.healthCheckGracePeriod,
            defaultInstanceWarmup: WARMUP_SECONDS,
            targetGroupArns: [targetGroup.arn],
            // AWS replaces dead gateways itself; `replacement.enabled: false` switches that off here, too.
            suspendedProcesses: args.replacement ? [...compiled.settings.suspendedProcesses] : ["ReplaceUnhealthy"],
            instanceRefresh: {
                strategy: "Rolling",
                preferences: {
                    minHealthyPercentage: HEALTHY_PERCENTAGE.min,
                    maxHealthyPercentage: HEALTHY_PERCENTAGE.max,
                    instanceWarmup: String(WARMUP_SECONDS),
                    checkpointPercentages: [...CHECKPOINTS],
                    checkpointDelay: String(settings.checkpointSeconds),
                    skipMatching: true,
                    autoRollback: true,
                },
            },
            // The readiness resource below waits for health and not only for capacity.
            waitForCapacityTimeout: "0",
            tags: Object.entries({ ...tags, "gateway-role": "gateway" }).map(([key, value]) => ({
                key,
                value,
                propagateAtLaunch: true,
            })),
        },
        {
            ...child,
            dependsOn: [...network.routes, identity.policy, listener, ...args.balancers.machines],
            // A deployment must not undo what AutoScaling has changed.
            ignoreChanges: targetTracking ? ["desiredCapacity"] : [],
        },
    );
    const drain = new aws.autoscaling.LifecycleHook(
        `${name}-drain`,
        {
            name: DRAIN_HOOK,
            autoscalingGroupName: group.name,
            lifecycleTransition: "autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeatTimeout: heartbeat(service),
            // An instance that cannot report that it has drained goes anyway.
            defaultResult: "CONTINUE",
        },
        child,
    );
    if (targetTracking) {
        new aws.autoscaling.Policy(
            `${name}-load`,
            {
                autoscalingGroupName: group.name,
                policyType: "TargetTrackingScaling",
                targetTrackingConfiguration: {
                    predefinedMetricSpecification: { predefinedMetricType: "ASGAverageCPUUtilization" },
                    targetValue: targetTracking.cpuPercent,
                },
            },
            child,
        );
    }
    if (args.replacement && pulumi.runtime.isDryRun()) {
        const lines = compiled.warnings.map((warning) => `- ${warning}`);
        const text = ["AutoScaling follows gateway:replacement, except for:", ...lines].join("\n");
        void pulumi.log.warn(text, group);
    }
    const ready = new AwsReadiness(
        `${name}-ready`,
        {
            region,
            endpoint: settings.emulator?.api ?? "",
            targetGroupArn: targetGroup.arn,
            wanted: pulumi
                .all([group.name, version])
                .apply(([known, number]) => ({ kind: "group", group: known, version: number, least: size }) as const),
            timeoutSeconds: settings.checkpointSeconds * CHECKPOINTS.length + policy.bootGraceSeconds * (1 + size),
        },
        { parent, dependsOn: [drain] },
    );
    return {
        endpoints: pulumi.output([]),
        machines: [group, ready],
        resources: { group, launchTemplate, securityGroup, healthTargetGroup: targetGroup },
    };
}

/** How long the hook waits for a gateway to drain: once for calls in flight, once for the stop of the process. */
function heartbeat({ stopTimeoutSeconds }: GatewayService): number {
    return Math.min(HEARTBEAT.most, Math.max(HEARTBEAT.least, 2 * stopTimeoutSeconds + DRAIN_MARGIN));
}

function groupArn(name: string, { region }: AwsContext, parent: pulumi.Resource): pulumi.Output<string> {
    const options = { parent };
    const { partition } = aws.getPartitionOutput({}, options);
    const { accountId } = aws.getCallerIdentityOutput({}, options);
    return pulumi.interpolate`arn:${partition}:autoscaling:${region}:${accountId}:autoScalingGroup:*:autoScalingGroupName/${name}`;
}
