import * as consul from "@pulumi/consul/package.json";
import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { GatewayConfig, ImageConfig, LoadBalancerStack, OpenstackConfig } from "../../config";
import type { Layout } from "../../programs/machine";
import { defaultPolicy, type ReplacementPolicy, resolvePolicy } from "../../replacement/core/policy";
import { type ArtifactSource, renderCloudInit } from "../../roles/render/cloudInit";
import type { Role } from "../../roles/role";
import { projectProvider } from "../dynamic/provider";
import { onceAtTheTop } from "../options";
import type { ProgramFiles } from "../programFiles";
import type { BalancersArgs, DiscoveryArgs, DiscoveryOutputs, PoolArgs, Target } from "../target";
import type { OpenstackContext } from "./context";
import { type OpenstackGatewayPool, openstackGatewayPool } from "./gatewayPool";
import { type OpenstackLoadBalancer, openstackLoadBalancer } from "./loadBalancer";
import { type OpenstackNames, openstackNames } from "./naming";
import { OpenstackNetwork } from "./network";
import { type OpenstackServiceDiscovery, openstackConsulDiscovery, openstackSerfDiscovery } from "./serviceDiscovery";

/** Arguments of {@link OpenstackTarget}. */
export interface OpenstackTargetArgs {
    readonly settings: OpenstackConfig;
    readonly image: ImageConfig;
    readonly files: ProgramFiles;
    /** What the balancers run. */
    readonly balancerStack: LoadBalancerStack;
    /** Versions of the engine's plugins besides OpenStack's that the program needs, by name. Default none. */
    readonly otherPlugins?: Readonly<Record<string, string>>;
    /**
     * The replacement loop on the machines: its policy, and its secrets in addition to those of the deployment. The
     * loop runs the whole program. A program that also deploys to other clouds would need all their rights on machines
     * of this one. Default: no loop.
     */
    readonly loop?: { readonly policy: ReplacementPolicy; readonly secrets: Readonly<Record<string, string>> };
}

/** Machines at OpenStack, in a network. */
export class OpenstackTarget
    extends pulumi.ComponentResource
    implements
        OpenstackContext,
        Target<OpenstackServiceDiscovery | undefined, OpenstackLoadBalancer, OpenstackGatewayPool>
{
    readonly cloud: string;
    readonly settings: OpenstackConfig;
    readonly files: ProgramFiles;
    readonly names: OpenstackNames;
    /**
     * OpenStack's provider, and the provider of what OpenStack lacks: credentials, and delivering secrets to machines.
     */
    readonly providers: readonly pulumi.ProviderResource[];
    readonly network: OpenstackNetwork;
    readonly balancerStack: LoadBalancerStack;
    readonly otherPlugins: Readonly<Record<string, string>>;
    readonly replacement: ReplacementPolicy | undefined;
    readonly loopSecrets: Readonly<Record<string, string>>;
    readonly flavor: { readonly gateway: string; readonly fixed: string };
    readonly imageId: string;
    private readonly artifacts: ArtifactSource;

    /** @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it. */
    constructor(name: string, args: OpenstackTargetArgs, opts?: pulumi.ComponentResourceOptions) {
        const { settings, image, files, balancerStack, otherPlugins = {}, loop } = args;
        const { cloud, imageId, flavor } = settings;
        if (cloud === undefined || imageId === undefined || flavor === undefined) {
            throw new pulumi.RunError(`target ${name}: cloud, imageId and flavor must be set`);
        }
        const artifacts = files.artifacts(image);
        super("gateway:openstack:Target", name, {}, opts);
        const child = { parent: this, aliases: [onceAtTheTop] };
        const provider =
            this.getProvider("openstack:networking:Port") ??
            // Everything else is in `clouds.yaml`. What stands here must be the same for everybody who deploys,
            // including the loop on its machines, each with its own credential: otherwise it would show as a change to
            // the others.
            new openstack.Provider(
                `${name}-provider`,
                { cloud, ...(settings.region ? { region: settings.region } : {}) },
                child,
            );
        this.providers = [provider, projectProvider(this, `${name}-project-provider`, child)];
        this.cloud = cloud;
        this.settings = settings;
        this.files = files;
        this.names = openstackNames(name);
        this.network = new OpenstackNetwork(
            `${name}-network`,
            { settings, names: this.names, ports: portsOf(artifacts) },
            { ...child, providers: [provider] },
        );
        this.balancerStack = balancerStack;
        this.otherPlugins = otherPlugins;
        this.replacement = loop?.policy;
        this.loopSecrets = loop?.secrets ?? {};
        this.flavor = { gateway: flavor, fixed: settings.fixedFlavor ?? flavor };
        this.imageId = imageId;
        this.artifacts = artifacts;
        this.registerOutputs({ networkId: this.network.networkId });
    }

    /** The target `openstack` of a stack's configuration. */
    static from(
        name: string,
        config: GatewayConfig,
        files: ProgramFiles,
        opts?: pulumi.ComponentResourceOptions,
    ): OpenstackTarget {
        const { openstack: settings, image, loadBalancerStack: balancerStack, secrets } = config;
        const policy = resolvePolicy(defaultPolicy, config.replacementPolicy);
        const loop = config.replacementEnabled && config.targets.length === 1 ? { loop: { policy, secrets } } : {};
        const otherPlugins = config.consulObjects ? { consul: consul.version } : {};
        return new OpenstackTarget(name, { settings, image, files, balancerStack, otherPlugins, ...loop }, opts);
    }

    serviceDiscovery(
        name: string,
        args: DiscoveryArgs,
        parent: pulumi.ComponentResource,
    ): DiscoveryOutputs<OpenstackServiceDiscovery | undefined> {
        return args.registry === "serf"
            ? openstackSerfDiscovery(this, name, args, parent)
            : openstackConsulDiscovery(this, name, args, parent);
    }

    loadBalancer(name: string, args: BalancersArgs, parent: pulumi.ComponentResource) {
        return openstackLoadBalancer(this, name, args, parent);
    }

    gatewayPool(name: string, args: PoolArgs, parent: pulumi.ComponentResource) {
        return openstackGatewayPool(this, name, args, parent);
    }

    userData(role: Role, layout: Layout): string {
        const { artifacts, files } = this;
        const secrets = { kind: "delivered" } as const;
        return renderCloudInit({ role, layout, artifacts, secrets, boot: files.bundle("boot") }).userData;
    }
}

function portsOf(artifacts: ArtifactSource): number[] {
    return artifacts.kind === "url" ? [Number(new URL(artifacts.base).port || 443)] : [];
}
