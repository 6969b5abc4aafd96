import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { AwsConfig, GatewayConfig, ImageConfig } from "../../config";
import type { SecretSource } from "../../programs/boot/description";
import type { Layout } from "../../programs/machine";
import { type ArtifactSource, renderCloudInit } from "../../roles/render/cloudInit";
import type { Role } from "../../roles/role";
import { projectProvider } from "../dynamic/provider";
import { onceAtTheTop } from "../options";
import type { ProgramFiles } from "../programFiles";
import type { BalancersArgs, DiscoveryArgs, PoolArgs, Target } from "../target";
import type { AwsContext } from "./context";
import { type AwsGatewayPool, awsGatewayPool } from "./gatewayPool";
import { type MachineImage, machineImage } from "./image";
import { type AwsLoadBalancer, awsLoadBalancer } from "./loadBalancer";
import { type AwsNames, awsNames } from "./naming";
import { AwsNetwork } from "./network";
import { AwsNetworkLoadBalancer } from "./networkLoadBalancer";
import { awsProvider } from "./provider";
import { allowOut } from "./securityGroups";
import { type AwsServiceDiscovery, awsConsulDiscovery, awsSerfDiscovery } from "./serviceDiscovery";

/** Arguments of {@link AwsTarget}. */
export interface AwsTargetArgs {
    readonly settings: AwsConfig;
    readonly image: ImageConfig;
    readonly files: ProgramFiles;
}

/** Machines at AWS, in a network with a network load balancer. */
export class AwsTarget
    extends pulumi.ComponentResource
    implements AwsContext, Target<AwsServiceDiscovery, AwsLoadBalancer, AwsGatewayPool>
{
    readonly region: string;
    readonly settings: AwsConfig;
    readonly files: ProgramFiles;
    readonly names: AwsNames;
    /**
     * AWS's provider, the provider of what AWS lacks (credentials, and waiting until machines are healthy), and the
     * provider of random keys.
     */
    readonly providers: readonly pulumi.ProviderResource[];
    readonly network: AwsNetwork;
    readonly nlb: AwsNetworkLoadBalancer;
    readonly image: MachineImage;
    readonly machineApi: string | undefined;
    private readonly artifacts: ArtifactSource;

    /** @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it. */
    constructor(name: string, { settings, image, files }: AwsTargetArgs, opts?: pulumi.ComponentResourceOptions) {
        if (settings.region === undefined) throw new pulumi.RunError(`target ${name}: the region is not set`);
        const artifacts = files.artifacts(image);
        super("gateway:aws:Target", name, {}, opts);
        const child = { parent: this, aliases: [onceAtTheTop] };
        const provider = this.getProvider("aws:ec2:Vpc") ?? awsProvider(`${name}-provider`, settings, child);
        const randomProvider =
            this.getProvider("random:index:RandomBytes") ??
            new random.Provider(`${name}-random-provider`, {}, { parent: this });
        this.providers = [provider, projectProvider(this, `${name}-project-provider`, child), randomProvider];
        this.region = settings.region;
        this.settings = settings;
        this.files = files;
        this.names = awsNames(name);
        this.artifacts = artifacts;
        this.machineApi = settings.emulator?.machines ?? settings.emulator?.api;
        const parts = { settings, names: this.names };
        const withProvider = { ...child, providers: [provider] };
        this.network = new AwsNetwork(`${name}-network`, parts, withProvider);
        this.nlb = new AwsNetworkLoadBalancer(`${name}-edge`, { ...parts, network: this.network }, withProvider);
        this.image = machineImage(`${name}-image`, settings, { parent: this, provider }, randomProvider);
        this.letOut(`${name}-network`);
        this.registerOutputs({ vpcId: this.network.vpcId, dnsName: this.nlb.dnsName });
    }

    /** The target `aws` of a stack's configuration. */
    static from(
        name: string,
        { aws: settings, image }: GatewayConfig,
        files: ProgramFiles,
        opts?: pulumi.ComponentResourceOptions,
    ): AwsTarget {
        return new AwsTarget(name, { settings, image, files }, opts);
    }

    serviceDiscovery(name: string, args: DiscoveryArgs, parent: pulumi.ComponentResource) {
        return args.registry === "serf"
            ? awsSerfDiscovery(this, name, args, parent)
            : awsConsulDiscovery(this, name, args, parent);
    }

    loadBalancer(name: string, args: BalancersArgs<AwsServiceDiscovery>, parent: pulumi.ComponentResource) {
        return awsLoadBalancer(this, name, args, parent);
    }

    gatewayPool(name: string, args: PoolArgs<AwsServiceDiscovery, AwsLoadBalancer>, parent: pulumi.ComponentResource) {
        return awsGatewayPool(this, name, args, parent);
    }

    userData(role: Role, layout: Layout): string {
        const { artifacts, files, region, machineApi } = this;
        const secrets: SecretSource = {
            kind: "ssm",
            region,
            prefix: this.names.secretPrefix,
            ...(machineApi === undefined ? {} : { endpoint: machineApi }),
        };
        return renderCloudInit({ role, layout, artifacts, secrets, identity: "ec2", boot: files.bundle("boot") })
            .userData;
    }

    private letOut(name: string): void {
        const { artifacts, machineApi, network } = this;
        const urls = [...(artifacts.kind === "url" ? [artifacts.base] : []), ...(machineApi ? [machineApi] : [])];
        for (const port of new Set([...OUTSIDE, ...urls.map((url) => Number(new URL(url).port || 443))])) {
            const peer = { kind: "cidr", cidr: "0.0.0.0/0" } as const;
            const rule = { protocol: "tcp", port, description: "AWS, artifacts and packages", peer } as const;
            allowOut(`${name}-outside-${port}`, network.members, rule, { parent: network });
        }
    }
}

/** Outside ports that every machine may call: AWS's API and artifacts, and the distribution's packages. */
const OUTSIDE = [443, 80];
