import * as consul from "@pulumi/consul/package.json";
import * as openstack from "@pulumi/openstack";
import { defaultPolicy, type ReplacementPolicy, resolvePolicy } from "../../replacement/policy";
import { type ArtifactSource, renderCloudInit } from "../../roles/render/cloudInit";
import type { Layout, Role } from "../../roles/role";
import { artifactSource } from "../artifacts";
import { bundle } from "../bundles";
import type { GatewayConfig, LoadBalancerStack, OpenstackConfig } from "../config";
import { ProjectProvider } from "../dynamic/provider";
import { OpenstackNetwork } from "./network";

/** Machines at OpenStack. */
export interface OpenstackTarget {
    readonly kind: "openstack";
    /** The cloud's name in `clouds.yaml`. */
    readonly cloud: string;
    readonly settings: OpenstackConfig;
    readonly provider: openstack.Provider;
    /** Of what OpenStack's provider does not have: credentials, and giving machines their secrets. */
    readonly projectProvider: ProjectProvider;
    readonly network: OpenstackNetwork;
    /** What the balancers run. */
    readonly balancerStack: LoadBalancerStack;
    /** Versions of the engine's plugins besides OpenStack's that the program needs, by name. */
    readonly otherPlugins: Readonly<Record<string, string>>;
    /** What the replacement loop may do; undefined: there is none. */
    readonly replacement: ReplacementPolicy | undefined;
    /** Secrets of the loop, besides those of the deployment. */
    readonly loopSecrets: Readonly<Record<string, string>>;
    /** Flavours, by name. */
    readonly flavor: { readonly gateway: string; readonly fixed: string };
    readonly imageId: string;
    /** A machine's user data, in base64. */
    readonly userData: (role: Role, layout: Layout) => string;
}

/**
 * The target `openstack` of a configuration.
 *
 * @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it.
 */
export function openstackTarget(name: string, config: GatewayConfig): OpenstackTarget {
    const { openstack: settings, image } = config;
    const { cloud, imageId, flavor } = settings;
    if (cloud === undefined || imageId === undefined || flavor === undefined) {
        throw new Error("the configuration was not checked: gateway:openstack is incomplete");
    }
    const artifacts = artifactSource(image);
    // Everything else is in `clouds.yaml`: it is the same for everybody who deploys, also for the loop on its machines,
    // each of whom logs in by a credential of his own. What stands here would show as a change to the others.
    const provider = new openstack.Provider(`${name}-provider`, {
        cloud,
        ...(settings.region ? { region: settings.region } : {}),
    });
    return {
        kind: "openstack",
        cloud,
        settings,
        provider,
        projectProvider: new ProjectProvider(`${name}-project-provider`),
        network: new OpenstackNetwork(`${name}-network`, settings, portsOf(artifacts), provider),
        balancerStack: config.loadBalancerStack,
        otherPlugins: config.consulObjects ? { consul: consul.version } : {},
        replacement: hasLoop(config) ? resolvePolicy(defaultPolicy, config.replacementPolicy) : undefined,
        loopSecrets: hasLoop(config) ? config.secrets : {},
        flavor: { gateway: flavor, fixed: settings.fixedFlavor ?? flavor },
        imageId,
        userData: (role, layout) =>
            renderCloudInit({ role, layout, artifacts, secrets: { kind: "delivered" }, boot: bundle("boot") }).userData,
    };
}

/**
 * Whether the replacement loop runs on the machines. It runs the whole program: of one that deploys to other clouds too it
 * would need all their rights, on machines of this one.
 */
function hasLoop({ replacementEnabled, targets }: GatewayConfig): boolean {
    return replacementEnabled && targets.length === 1;
}

function portsOf(artifacts: ArtifactSource): number[] {
    return artifacts.kind === "url" ? [Number(new URL(artifacts.base).port || 443)] : [];
}
