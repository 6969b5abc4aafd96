/** What exists of a deployment at the control plane, found there by metadata and tags, independent of the state. */
import { z } from "zod";
import type { CloudSession } from "../../clients/keystone";
import { errorTextOf } from "../../clients/keystone";
import type { FoundServer, LoosePart } from "../core/recovery";
import { novaServers, serverInSlot } from "../observe/nova";
import { deploymentKey } from "../serverMetadata";

/** A control plane's inventory. All methods throw when it does not answer. Deleting what does not exist succeeds. */
export interface Inventory {
    /** All servers of the deployment. */
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
 * A deployment on OpenStack. Servers and volumes have its name in their metadata, ports have the tag
 * `gateway-deployment=NAME`.
 *
 * @param volumes whether the cloud has block storage.
 */
export function openstackInventory(session: CloudSession, deployment: string, volumes = true): Inventory {
    const remove = async (kind: keyof typeof services, id: string, signal: AbortSignal) => {
        const { types, path } = services[kind];
        const answer = await session.ask(types, `${path}/${encodeURIComponent(id)}`, { method: "DELETE", signal });
        if (answer.status >= 300 && answer.status !== 404)
            throw new Error(`delete ${kind} ${id}: ${errorTextOf(answer)}`);
    };
    return {
        async servers(signal) {
            const found = await novaServers(session, { deployment }, signal);
            return found.flatMap((server) => serverInSlot(server) ?? []);
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
