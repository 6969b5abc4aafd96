/** Takes a gateway that serves out of the registry and puts it back: what a change of the routes is. */
import { setTimeout as delay } from "node:timers/promises";
import { request } from "../replacement/observers/http";
import type { ConsulRegistration } from "../roles/programs/drain";
import { SerfClient } from "../roles/programs/serf/rpc";
import type { ProcessMachine } from "../roles/render/process";
import { type SerfRpcAddress, serfEvent, serfTags } from "../roles/serf";
import type { MachineHome } from "../supervisor/machine";
import { drainSettings } from "./deployment";

type Home = Pick<MachineHome, "machines">;

/** Tells the registry that a gateway takes no calls for the time being. @throws Error when it does not hear it. */
export function withdraw(home: Home, gateway: ProcessMachine): Promise<void> {
    const settings = drainSettings(home, gateway);
    return "serf" in settings
        ? retag(settings.serf, (client) => client.setTags(serfTags.draining))
        : maintain(settings, true);
}

/** Takes {@link withdraw} back; harmless without it. @throws Error when the registry does not hear it. */
export function announce(home: Home, gateway: ProcessMachine): Promise<void> {
    const settings = drainSettings(home, gateway);
    return "serf" in settings
        ? retag(settings.serf, (client) => client.setTags({}, Object.keys(serfTags.draining)))
        : maintain(settings, false);
}

async function maintain({ api, serviceId, token }: ConsulRegistration, enable: boolean): Promise<void> {
    const url = `${api}/v1/agent/service/maintenance/${encodeURIComponent(serviceId)}?enable=${enable}`;
    // Registering takes the agent a moment after it has come up.
    for (let attempt = 0; ; attempt++) {
        const { status } = await request({
            url,
            method: "PUT",
            timeoutSeconds: 2,
            headers: { "X-Consul-Token": token },
        });
        if (status === 200) return;
        if (attempt === 10) throw new Error(`Consul answers ${status} to the change of ${serviceId}`);
        await delay(100);
    }
}

async function retag(rpc: SerfRpcAddress, change: (client: SerfClient) => Promise<unknown>): Promise<void> {
    const client = await SerfClient.connect(rpc);
    try {
        await change(client);
        // Serf delivers an event at once, while it holds back changes of members.
        await client.sendEvent(serfEvent, "route");
    } finally {
        client.close();
    }
}
