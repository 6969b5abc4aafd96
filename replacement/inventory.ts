/** What of a deployment exists at the control plane, found by its marks and not by the deployment's state. */
import { join } from "node:path";
import { z } from "zod";
import { removeMachine } from "../supervisor/machine";
import { machineNames, readLiveRecord, readRecord } from "../supervisor/record";
import type { CloudSession } from "./observers/keystone";
import { said } from "./observers/keystone";
import { novaServers, stampedServer } from "./observers/nova";
import type { FoundServer, LoosePart } from "./recovery";
import { deploymentKey } from "./stamp";

/** A control plane's inventory. All of these throw when it does not answer; deleting what is not there is no error. */
export interface Inventory {
    /** Every server of the deployment. */
    servers(signal: AbortSignal): Promise<FoundServer[]>;
    /** Ports and volumes of the deployment that belong to no server. */
    looseParts(signal: AbortSignal): Promise<LoosePart[]>;
    deleteServer(id: string, signal: AbortSignal): Promise<void>;
    deletePart(part: LoosePart, signal: AbortSignal): Promise<void>;
}

const portsSchema = z.object({ ports: z.array(z.object({ id: z.string(), device_id: z.string().nullish() })) });
const volumesSchema = z.object({
    volumes: z.array(
        z.object({
            id: z.string(),
            status: z.string(),
            metadata: z.record(z.string(), z.string()).default({}),
            attachments: z.array(z.unknown()).default([]),
        }),
    ),
});

const services = {
    server: { types: ["compute"], path: "/servers" },
    port: { types: ["network"], path: "/v2.0/ports" },
    volume: { types: ["volumev3", "block-storage", "volume"], path: "/volumes" },
} as const;

/**
 * A deployment on OpenStack. Servers and volumes bear its name in their metadata, ports as the tag
 * `gateway-deployment=NAME`.
 *
 * @param volumes whether the cloud has block storage at all; some do not.
 */
export function openstackInventory(session: CloudSession, deployment: string, volumes = true): Inventory {
    const remove = async (kind: keyof typeof services, id: string, signal: AbortSignal) => {
        const { types, path } = services[kind];
        const answer = await session.ask(types, `${path}/${encodeURIComponent(id)}`, { method: "DELETE", signal });
        if (answer.status >= 300 && answer.status !== 404) throw new Error(`delete ${kind} ${id}: ${said(answer)}`);
    };
    return {
        async servers(signal) {
            const found = await novaServers(session, { deployment }, signal);
            return found.flatMap((server) => stampedServer(server) ?? []);
        },
        async looseParts(signal) {
            const tag = encodeURIComponent(`${deploymentKey}=${deployment}`);
            const { ports } = await session.get(services.port.types, `${services.port.path}?tags=${tag}`, portsSchema, {
                signal,
            });
            const loosePorts = ports.filter(({ device_id }) => !device_id);
            const listed = volumes
                ? (await session.get(services.volume.types, "/volumes/detail", volumesSchema, { signal })).volumes
                : [];
            const looseVolumes = listed.filter(
                ({ metadata, attachments, status }) =>
                    metadata[deploymentKey] === deployment && attachments.length === 0 && status === "available",
            );
            return [
                ...loosePorts.map(({ id }): LoosePart => ({ kind: "port", id })),
                ...looseVolumes.map(({ id }): LoosePart => ({ kind: "volume", id })),
            ];
        },
        deleteServer: (id, signal) => remove("server", id, signal),
        deletePart: ({ kind, id }, signal) => remove(kind, id, signal),
    };
}

/**
 * The machines of this computer. A slot is a folder, so there is never more than one machine for it, but it may be one
 * that the deployment's state does not know.
 *
 * @param isSlot tells gateways from other machines, by name.
 */
export function localInventory(machines: string, isSlot: (name: string) => boolean): Inventory {
    return {
        async servers() {
            return machineNames(machines)
                .filter(isSlot)
                .flatMap((slot) => {
                    const record = readLiveRecord(join(machines, slot));
                    if (!record) return [];
                    const { incarnation: id, createdAt } = record;
                    return [
                        { id, slot, epoch: 0, createdAt: Date.parse(createdAt) / 1000, resourceId: `${slot}/${id}` },
                    ];
                });
        },
        looseParts: async () => [],
        async deleteServer(id) {
            const name = machineNames(machines).find((slot) => readRecord(join(machines, slot))?.incarnation === id);
            if (name !== undefined) await removeMachine({ machines }, name);
        },
        deletePart: async () => undefined,
    };
}
