/** `npm run preview -- STACK`: shows what a deployment of the stack would change. */
import { runOnStack } from "./stackCommand";

runOnStack("preview", "Shows what a deployment of the stack would change, without changing anything.");
