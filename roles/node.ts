import type { Binary } from "../programs/machine";
import { pinnedNode } from "../toolchain/node";

/** The Node that runs this project's programs. Its version is part of each role, so a new one shows in a preview. */
export const nodeBinary: Binary = { name: "node", source: { kind: "node", version: pinnedNode.version } };
