/** Boots a machine in this process's lab, reports it, and stays until it is killed. */
import { Host } from "../host";
import { Lab } from "../lab";

async function main(): Promise<void> {
    const lab = await Lab.open();
    await Host.boot({ lab, name: "lonely", address: "198.18.1.1", userData: "" });
    console.log("running");
    setInterval(() => undefined, 60_000);
}

void main();
