/** `npm run destroy -- STACK`: removes everything that a stack deployed. */
import { runOnStack } from "./stackCommand";

runOnStack("destroy", "Removes everything that the stack deployed.");
