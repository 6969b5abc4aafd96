/** `npm run e2e:aws`: runs the tests of target aws. */
import { runSuite } from "../support/run";
import { requirements } from "./support/requirements";

void runSuite("aws", requirements);
