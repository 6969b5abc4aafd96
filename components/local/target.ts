import * as pulumi from "@pulumi/pulumi";
import type { GatewayConfig } from "../../config";
import { projectProvider } from "../dynamic/provider";
import { onceAtTheTop } from "../options";
import type { ProgramFiles } from "../programFiles";
import type { BalancersArgs, DiscoveryArgs, PoolArgs, Target } from "../target";
import { type LocalAddresses, localAddresses } from "./addresses";
import type { LocalContext } from "./context";
import { type LocalGatewayPool, localGatewayPool } from "./gatewayPool";
import { localLoadBalancer } from "./loadBalancer";
import { localConsulDiscovery, localSerfDiscovery } from "./serviceDiscovery";

/** Arguments of {@link LocalTarget}. */
export interface LocalTargetArgs {
    /** A /24 inside 127.0.0.0/8, such as `127.90.0.0/24`, that no other deployment on this computer has. */
    readonly network: string;
    readonly files: ProgramFiles;
}

/** Machines on this computer. */
export class LocalTarget
    extends pulumi.ComponentResource
    implements LocalContext, Target<undefined, undefined, LocalGatewayPool>
{
    readonly addresses: LocalAddresses;
    readonly files: ProgramFiles;
    readonly providers: readonly pulumi.ProviderResource[];
    readonly area: string | undefined;

    constructor(name: string, { network, files }: LocalTargetArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:local:Target", name, {}, opts);
        this.addresses = localAddresses(network);
        this.files = files;
        this.providers = [projectProvider(this, `${name}-provider`, { parent: this, aliases: [onceAtTheTop] })];
        this.area = name === "local" ? undefined : name;
        this.registerOutputs({});
    }

    /** The target `local` of a stack's configuration. */
    static from(
        name: string,
        { localNetwork: network }: GatewayConfig,
        files: ProgramFiles,
        opts?: pulumi.ComponentResourceOptions,
    ): LocalTarget {
        return new LocalTarget(name, { network, files }, opts);
    }

    serviceDiscovery(name: string, args: DiscoveryArgs, parent: pulumi.ComponentResource) {
        return args.registry === "serf"
            ? localSerfDiscovery(this, name, args, parent)
            : localConsulDiscovery(this, name, args, parent);
    }

    loadBalancer(name: string, args: BalancersArgs, parent: pulumi.ComponentResource) {
        return localLoadBalancer(this, name, args, parent);
    }

    gatewayPool(name: string, args: PoolArgs, parent: pulumi.ComponentResource) {
        return localGatewayPool(this, name, args, parent);
    }
}
