import type { GatewayConfig, Target as TargetKind } from "./config";
import { type LocalAddresses, localAddresses } from "./local/addresses";
import { LocalProvider } from "./local/provider";

/** Where a deployment goes, with what its components need to make resources there. Later targets join this union. */
export type Target = LocalTarget;

/** Machines on this computer. */
export interface LocalTarget {
    readonly kind: "local";
    readonly addresses: LocalAddresses;
    readonly provider: LocalProvider;
}

/**
 * The target that a configuration names, and its provider.
 *
 * @throws Error for one that is not there yet; the configuration has been checked before, so this is our mistake.
 */
export function makeTarget(kind: TargetKind, config: GatewayConfig): Target {
    if (kind === "local") {
        return {
            kind,
            addresses: localAddresses(config.localNetwork),
            provider: new LocalProvider(`${kind}-provider`),
        };
    }
    throw new Error(`target ${kind} is not implemented in this version`);
}
