/** Runs the replacement loop on this program, once for each pool: target local starts it from here. */
import { main as replacementLoop } from "gateway/loop";

export const main = () => replacementLoop(() => require("./index"));
