import { type AwsTarget, awsTarget } from "./aws/target";
import type { GatewayConfig, Target as TargetKind } from "./config";
import { ProjectProvider } from "./dynamic/provider";
import { type LocalAddresses, localAddresses } from "./local/addresses";

/** Where a deployment goes, with what its components need to make resources there. Later targets join this union. */
export type Target = LocalTarget | AwsTarget;

/** Machines on this computer. */
export interface LocalTarget {
    readonly kind: "local";
    readonly addresses: LocalAddresses;
    readonly provider: ProjectProvider;
}

/**
 * The target that a configuration names, and its provider.
 *
 * @throws Error for one that is not there yet; the configuration has been checked before, so this is our mistake.
 */
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
        default:
            throw new Error(`target ${kind} is not implemented in this version`);
    }
}
