/** `npm run up -- STACK`: brings a stack to what its configuration says. */
import { runOnStack } from "./stackCommand";

runOnStack("up", "Brings the stack to what its configuration says.");
