/** Route changes: removes a serving gateway from the registry and returns it. */
import { setTimeout as delay } from "node:timers/promises";
import { SerfClient, type SerfRpcAddress, serfEvent, serfTags } from "../clients/serf";
import { request } from "../lib/http";
import type { ConsulRegistration } from "../programs/drain/main";
import type { ProcessMachine } from "../programs/supervisor/description";
import type { MachineHome } from "../programs/supervisor/machine";
import { drainSettings } from "./localDeployment";

type Home = Pick<MachineHome, "machines">;

/** Marks a gateway in the registry as taking no calls. @throws Error when the registry refuses. */
export function withdrawGateway(home: Home, gateway: ProcessMachine): Promise<void> {
    const settings = drainSettings(home, gateway);
    return "serf" in settings
        ? retag(settings.serf, (client) => client.setTags(serfTags.draining))
        : maintain(settings, true);
}

/** Undoes {@link withdrawGateway}. Idempotent. @throws Error when the registry refuses. */
export function announceGateway(home: Home, gateway: ProcessMachine): Promise<void> {
    const settings = drainSettings(home, gateway);
    return "serf" in settings
        ? retag(settings.serf, (client) => client.setTags({}, Object.keys(serfTags.draining)))
        : maintain(settings, false);
}

async function maintain({ api, serviceId, token }: ConsulRegistration, enable: boolean): Promise<void> {
    const url = `${api}/v1/agent/service/maintenance/${encodeURIComponent(serviceId)}?enable=${enable}`;
    // An agent that has just started needs a moment to register the service.
    for (let attempt = 0; ; attempt++) {
        const { status } = await request({
            url,
            method: "PUT",
            timeoutSeconds: 2,
            headers: { "X-Consul-Token": token },
        });
        if (status === 200) return;
        if (attempt === 10) throw new Error(`Consul answered ${status} to maintenance of ${serviceId}`);
        await delay(100);
    }
}

async function retag(rpc: SerfRpcAddress, change: (client: SerfClient) => Promise<unknown>): Promise<void> {
    const client = await SerfClient.connect(rpc);
    try {
        await change(client);
        // Serf delays member updates, but delivers an event at once.
        await client.sendEvent(serfEvent, "route");
    } finally {
        client.close();
    }
}
