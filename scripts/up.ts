/** `npm run up -- STACK`: deploys a stack. */
import { runOnStack } from "./stackCommand";

runOnStack("up", "Creates, changes and removes resources until the stack matches its configuration.");
