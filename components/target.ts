import type { GatewayConfig, Target as TargetKind } from "./config";
import { type LocalAddresses, localAddresses } from "./local/addresses";

/** Where a deployment goes, with what its components need to make resources there. Later targets join this union. */
export type Target = LocalTarget;

/** Machines on this computer. */
export interface LocalTarget {
    readonly kind: "local";
    readonly addresses: LocalAddresses;
}

/**
 * The target that a configuration names.
 *
 * @throws Error for one that is not there yet; the configuration has been checked before, so this is our mistake.
 */
export function makeTarget(kind: TargetKind, config: GatewayConfig): Target {
    if (kind === "local") return { kind, addresses: localAddresses(config.localNetwork) };
    throw new Error(`target ${kind} is not implemented in this version`);
}
