import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { compileAutoScaling } from "../../replacement/compile/autoScaling";
import { defaultPolicy, resolvePolicy } from "../../replacement/policy";
import { gatewayHealthPort } from "../../roles/gatewayHealth";
import { instanceWatcher, type LifecycleHook } from "../../roles/instanceWatcher";
import { cloudLayout } from "../../roles/render/cloudInit";
import { instanceRef, mergeRoles, secretsOf } from "../../roles/role";
import { bundle } from "../bundles";
import type { GatewayService } from "../config";
import type { GatewayPoolArgs, GatewayPoolOutputs } from "../gatewayPool";
import { gatewayRole, type Registry, unknownRegistry } from "../roles";
import { metadataOptions } from "./fixedMachine";
import { AwsGate } from "./gate";
import { machineIdentity } from "./iam";
import { commonTags, prefix, tagsOf } from "./naming";
import { roleSecurityGroup } from "./securityGroups";
import { awsPartOf } from "./serviceDiscovery";
import type { AwsTarget } from "./target";

/** Escape hatch of the pool on target `aws`. */
export interface AwsGatewayPool {
    readonly group: aws.autoscaling.Group;
    readonly launchTemplate: aws.ec2.LaunchTemplate;
    readonly securityGroup: aws.ec2.SecurityGroup;
    /** Nobody is sent there: it is how AWS sees which gateways are well. */
    readonly healthTargetGroup: aws.lb.TargetGroup;
}

/** The name of the hook that holds a gateway's instance until it has drained. */
const DRAIN_HOOK = "drain";
/** Seconds between a drained gateway and a lifecycle hook that has waited long enough: for what is not the drain itself. */
const DRAIN_MARGIN = 60;
/** AWS's limits of a hook's heartbeat, seconds. */
const HEARTBEAT = { least: 30, most: 7200 } as const;
/** While instances are exchanged, never fewer than the pool's size; half as many more for the time being. */
const HEALTHY_PERCENTAGE = { min: 100, max: 150 } as const;
/** How long a new instance has to be well before the next one is exchanged, seconds. */
const WARMUP_SECONDS = 30;
/** A roll-out halts here for a look at what is new, percent of the pool, and goes on by itself. */
const CHECKPOINTS = [50, 100] as const;

/**
 * Gateways as an AutoScaling group over all zones, of spot instances if wanted: AWS replaces those that it finds ill by
 * the health endpoint, those that it takes back, and, when the machines' description changes, all, in turns.
 */
export function awsGatewayPool(
    name: string,
    args: GatewayPoolArgs<AwsTarget>,
    parent: pulumi.Resource,
): GatewayPoolOutputs {
    const { target, service, discovery, balancers, size } = args;
    const { provider, network, edge, settings, image, region } = target;
    const { parameters, rights, credentials } = awsPartOf(discovery);
    const child = { parent, provider, dependsOn: [credentials] };
    // Known beforehand, because the instances' rights and settings name it.
    const groupName = `${prefix()}-${name}`;
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
            gatewayRole({ registry, service, balancers }, layout),
            instanceWatcher(
                { drain: ["gateway"], health: ["gateway-health"], hook, bundle: bundle("instance-watcher") },
                layout,
            ),
        );
    const shape = role(unknownRegistry(discovery));
    const securityGroup = roleSecurityGroup(
        name,
        "gateway",
        shape.ports,
        [gatewayHealthPort],
        { vpcId: network.vpcId, members: network.members, edge: edge.group },
        child,
    );
    const identity = machineIdentity(
        name,
        {
            secrets: secretsOf(shape),
            parameters,
            kmsKeyArn: settings.kmsKeyArn,
            region,
            more: [
                ...rights,
                { Action: ["autoscaling:CompleteLifecycleAction"], Resource: groupArn(groupName, target, parent) },
            ],
        },
        child,
    );
    const { targetGroup, listener } = edge.send(
        {
            name: `${name}-health`,
            port: gatewayHealthPort,
            check: { protocol: "HTTP", port: gatewayHealthPort, path: "/health" },
            drainSeconds: 0,
        },
        child,
    );
    const tags = { ...commonTags(), ...tagsOf("gateway") };
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
            // The provider's default tags do not get here.
            tagSpecifications: ["instance", "volume"].map((resourceType) => ({ resourceType, tags })),
            updateDefaultVersion: true,
            tags: tagsOf("gateway"),
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
            // Room for those that come before others go.
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
            // AWS tells early that a spot instance is about to go: its successor is made before.
            capacityRebalance: true,
            instanceMaintenancePolicy: {
                minHealthyPercentage: HEALTHY_PERCENTAGE.min,
                maxHealthyPercentage: HEALTHY_PERCENTAGE.max,
            },
            // "EC2" would see only whether the machine has power.
            healthCheckType: "ELB",
            healthCheckGracePeriod: compiled.settings.healthCheckGracePeriod,
            defaultInstanceWarmup: WARMUP_SECONDS,
            targetGroupArns: [targetGroup.arn],
            // What replaces dead gateways elsewhere, AWS does by itself; who switches that off means here, too.
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
            // The gate below waits, for health and not only for capacity.
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
            // What AutoScaling has changed is not for a deployment to undo.
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
            // An instance that cannot say that it has drained goes all the same.
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
        const text = ["AutoScaling keeps gateway:replacement, except for:", ...lines].join("\n");
        void pulumi.log.warn(text, group);
    }
    const ready = new AwsGate(
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
        { parent, provider: target.projectProvider, dependsOn: [drain] },
    );
    return {
        endpoints: pulumi.output([]),
        machines: [group, ready],
        aws: { group, launchTemplate, securityGroup, healthTargetGroup: targetGroup },
    };
}

/** How long the hook waits for a gateway to drain: once for the calls under way, once for the stop of the process. */
function heartbeat({ stopTimeoutSeconds }: GatewayService): number {
    return Math.min(HEARTBEAT.most, Math.max(HEARTBEAT.least, 2 * stopTimeoutSeconds + DRAIN_MARGIN));
}

function groupArn(name: string, { provider, region }: AwsTarget, parent: pulumi.Resource): pulumi.Output<string> {
    const options = { parent, provider };
    const { partition } = aws.getPartitionOutput({}, options);
    const { accountId } = aws.getCallerIdentityOutput({}, options);
    return pulumi.interpolate`arn:${partition}:autoscaling:${region}:${accountId}:autoScalingGroup:*:autoScalingGroupName/${name}`;
}
