import type * as aws from "@pulumi/aws";
import { renderCloudInit, type SecretSource } from "../../roles/render/cloudInit";
import type { Layout, Role } from "../../roles/role";
import { artifactSource } from "../artifacts";
import { bundle } from "../bundles";
import type { AwsConfig, GatewayConfig } from "../config";
import { ProjectProvider } from "../dynamic/provider";
import { AwsEdge } from "./edge";
import { type MachineImage, machineImage } from "./image";
import { AwsNetwork } from "./network";
import { awsProvider } from "./provider";
import { secretPrefix } from "./secrets";
import { allowOut } from "./securityGroups";

/** Machines at AWS. */
export interface AwsTarget {
    readonly kind: "aws";
    readonly region: string;
    readonly settings: AwsConfig;
    readonly provider: aws.Provider;
    /** Of what AWS's provider does not have: credentials, and waiting until machines are well. */
    readonly projectProvider: ProjectProvider;
    readonly network: AwsNetwork;
    readonly edge: AwsEdge;
    readonly image: MachineImage;
    /** AWS's API as machines find it; undefined: where AWS has it. */
    readonly machineApi: string | undefined;
    /** A machine's user data, in base64. */
    readonly userData: (role: Role, layout: Layout) => string;
}

/**
 * The target `aws` of a configuration.
 *
 * @throws pulumi.RunError when the list of artifacts is not there, with the command that makes it.
 */
export function awsTarget(name: string, config: GatewayConfig): AwsTarget {
    const { aws: settings, image } = config;
    const { region } = settings;
    if (region === undefined) throw new Error("the configuration was not checked: gateway:aws.region is not set");
    const artifacts = artifactSource(image);
    const provider = awsProvider(`${name}-provider`, settings);
    const network = new AwsNetwork(`${name}-network`, settings, provider);
    const machineApi = settings.emulator?.machines ?? settings.emulator?.api;
    letOut(network, provider, [
        ...(artifacts.kind === "url" ? [artifacts.base] : []),
        ...(machineApi === undefined ? [] : [machineApi]),
    ]);
    const secrets: SecretSource = {
        kind: "ssm",
        region,
        prefix: secretPrefix(),
        ...(machineApi === undefined ? {} : { endpoint: machineApi }),
    };
    return {
        kind: "aws",
        region,
        settings,
        provider,
        projectProvider: new ProjectProvider(`${name}-project-provider`),
        network,
        edge: new AwsEdge(`${name}-edge`, network, settings, provider),
        image: machineImage(settings.imageId, { provider, parent: network }),
        machineApi,
        userData: (role, layout) =>
            renderCloudInit({ role, layout, artifacts, secrets, identity: "ec2", boot: bundle("boot") }).userData,
    };
}

/** Ports of the outside that every machine may call: AWS's API and artifacts, and the distribution's packages. */
const OUTSIDE = [443, 80] as const;

function letOut(network: AwsNetwork, provider: aws.Provider, urls: readonly string[]): void {
    const others = urls.map((url) => Number(new URL(url).port || 443));
    for (const port of new Set<number>([...OUTSIDE, ...others])) {
        allowOut(
            `aws-network-outside-${port}`,
            network.members,
            {
                protocol: "tcp",
                port,
                description: "AWS, artifacts and packages",
                peer: { kind: "cidr", cidr: "0.0.0.0/0" },
            },
            { parent: network, provider },
        );
    }
}
