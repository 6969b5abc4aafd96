import type { AwsConfig } from "../../config";
import type { Layout } from "../../programs/machine";
import type { Role } from "../../roles/role";
import type { ProgramFiles } from "../programFiles";
import type { MachineImage } from "./image";
import type { AwsNames } from "./naming";
import type { AwsNetwork } from "./network";
import type { AwsNetworkLoadBalancer } from "./networkLoadBalancer";

/** What the components on target `aws` need to make resources there. */
export interface AwsContext {
    readonly region: string;
    readonly settings: AwsConfig;
    readonly files: ProgramFiles;
    readonly names: AwsNames;
    readonly network: AwsNetwork;
    readonly nlb: AwsNetworkLoadBalancer;
    readonly image: MachineImage;
    /** AWS's API as machines find it; undefined: where AWS has it. */
    readonly machineApi: string | undefined;
    /** A machine's user data, in base64. */
    userData(role: Role, layout: Layout): string;
}
