import type { ProgramFiles } from "../programFiles";
import type { LocalAddresses } from "./addresses";

/** What the components on target `local` need to make machines here. */
export interface LocalContext {
    readonly addresses: LocalAddresses;
    readonly files: ProgramFiles;
    /** Tells the folders of the target's machines from those of others on this computer. Undefined for the target `local`. */
    readonly area: string | undefined;
}
