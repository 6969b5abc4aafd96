/**
 * The replacement loop on this program. Machines of OpenStack run it as one file, which holds the program; this computer runs
 * it compiled, with the packages of the project.
 */
import * as replacer from "./programs/replacer/main";

/** Runs the loop's daemon or one of its commands, as the command line says. */
export function main(argv?: readonly string[]): Promise<void> {
    return replacer.main(() => require("./index"), argv);
}

if (require.main === module) void main();
