/** `npm run preview -- STACK`: what a deployment of the stack would change. */
import { runOnStack } from "./stackCommand";

runOnStack("preview", "Says what a deployment of the stack would change. Changes nothing.");
