import { type AwsTarget, awsTarget } from "./aws/target";
import type { GatewayConfig, Target as TargetKind } from "./config";
import { ProjectProvider } from "./dynamic/provider";
import { type LocalAddresses, localAddresses } from "./local/addresses";
import { type OpenstackTarget, openstackTarget } from "./openstack/target";

/** Where a deployment goes, with what its components need to make resources there. */
export type Target = LocalTarget | AwsTarget | OpenstackTarget;

/** Machines on this computer. */
export interface LocalTarget {
    readonly kind: "local";
    readonly addresses: LocalAddresses;
    readonly provider: ProjectProvider;
}

/** The target that a configuration names, and its provider. */
export function makeTarget(kind: TargetKind, config: GatewayConfig): Target {
    switch (kind) {
        case "local":
            return {
                kind,
                addresses: localAddresses(config.localNetwork),
                provider: new ProjectProvider(`${kind}-provider`),
            };
        case "aws":
            return awsTarget(kind, config);
        case "openstack":
            return openstackTarget(kind, config);
    }
}
