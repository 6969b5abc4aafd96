/** What the end-to-end tests of target aws need on this computer. */
import { Requirements } from "../../support/requirements";

/** Beside what all such tests need. */
export const requirements = new Requirements("aws", ["aws", "random"]);
