import type { LoadBalancerStack, OpenstackConfig } from "../../config";
import type { Layout } from "../../programs/machine";
import type { ReplacementPolicy } from "../../replacement/core/policy";
import type { Role } from "../../roles/role";
import type { ProgramFiles } from "../programFiles";
import type { OpenstackNames } from "./naming";
import type { OpenstackNetwork } from "./network";

/** What the components on target `openstack` need to make resources there. */
export interface OpenstackContext {
    /** The cloud's name in `clouds.yaml`. */
    readonly cloud: string;
    readonly settings: OpenstackConfig;
    readonly files: ProgramFiles;
    readonly names: OpenstackNames;
    readonly network: OpenstackNetwork;
    /** What the balancers run. */
    readonly balancerStack: LoadBalancerStack;
    /** Versions of the engine's plugins besides OpenStack's that the program needs, by name. */
    readonly otherPlugins: Readonly<Record<string, string>>;
    /** The policy of the replacement loop; undefined: there is no loop. */
    readonly replacement: ReplacementPolicy | undefined;
    /** Secrets of the loop, besides those of the deployment. */
    readonly loopSecrets: Readonly<Record<string, string>>;
    /** Flavours, by name. */
    readonly flavor: { readonly gateway: string; readonly fixed: string };
    readonly imageId: string;
    /** A machine's user data, in base64. */
    userData(role: Role, layout: Layout): string;
}
