/** The entry of the loop's bundle: there every module is the main one, so none may start anything by itself. */
import { main } from "./main";

void main();
