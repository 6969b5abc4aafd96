/** OpenStack's compute service as the control plane. */
import { z } from "zod";
import type { CloudSession } from "../../clients/keystone";
import { errorTextOf } from "../../clients/keystone";
import type { ControlPlaneState, ControlPlaneView } from "../core/observation";
import type { Slot } from "../core/pool";
import { deploymentKey, epochKey, slotKey } from "../serverMetadata";
import type { ControlPlane } from "./controlPlane";

const COMPUTE_TYPES = ["compute"] as const;

const serverSchema = z.object({
    id: z.string(),
    name: z.string(),
    status: z.string(),
    created: z.string().nullish(),
    metadata: z.record(z.string(), z.string()).default({}),
    "OS-SRV-USG:launched_at": z.string().nullish(),
    "OS-EXT-STS:task_state": z.string().nullish(),
    fault: z.object({ message: z.string().default(""), code: z.number().optional() }).optional(),
});
const pageSchema = z.object({
    servers: z.array(serverSchema),
    servers_links: z.array(z.object({ rel: z.string(), href: z.string() })).default([]),
});

/** A server as the compute service describes it; only the fields used here. */
export type NovaServer = z.infer<typeof serverSchema>;

/** How to find a deployment's servers. */
export interface NovaOptions {
    /** Name of the deployment (its stack) in the servers' metadata. */
    readonly deployment: string;
    /** Servers per page. Default 200; the service may return fewer. */
    readonly pageSize?: number;
}

/** Highest number of pages in a list; more count as an endless list. */
const MAX_PAGES = 100;

/**
 * Lists all servers of a deployment, found by their metadata.
 *
 * @throws Error when the service does not answer, or answers something unexpected.
 */
export async function novaServers(
    session: CloudSession,
    { deployment, pageSize = 200 }: NovaOptions,
    signal?: AbortSignal,
): Promise<NovaServer[]> {
    const found: NovaServer[] = [];
    let marker: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
        const path = `/servers/detail?limit=${pageSize}${marker === undefined ? "" : `&marker=${marker}`}`;
        const { servers, servers_links } = await session.get(COMPUTE_TYPES, path, pageSchema, signal ? { signal } : {});
        found.push(...servers.filter(({ metadata }) => metadata[deploymentKey] === deployment));
        marker = servers.at(-1)?.id;
        if (marker === undefined || !servers_links.some(({ rel }) => rel === "next")) return found;
    }
    throw new Error(`compute: the list of servers has more than ${MAX_PAGES} pages`);
}

/**
 * Nova as the control plane. It lists all servers, and asks for a missing one by its id, because a list may be cut. Only
 * a server that answers 404 is "gone".
 */
export function novaControlPlane(session: CloudSession, options: NovaOptions): ControlPlane {
    return {
        async servers(slots, signal) {
            const listed = new Map((await novaServers(session, options, signal)).map((server) => [server.id, server]));
            const views = slots.map(async (slot) => {
                const server = listed.get(slot.serverId);
                return [slot.name, server ? viewOf(server) : await askForServer(session, slot, signal)] as const;
            });
            return new Map(await Promise.all(views));
        },
    };
}

async function askForServer(session: CloudSession, { serverId }: Slot, signal: AbortSignal): Promise<ControlPlaneView> {
    try {
        const path = `/servers/${encodeURIComponent(serverId)}`;
        const answer = await session.ask(COMPUTE_TYPES, path, { signal });
        if (answer.status === 404) return { state: "gone", detail: "404" };
        if (answer.status !== 200) return { state: "unknown", detail: errorTextOf(answer) };
        return viewOf(z.object({ server: serverSchema }).parse(JSON.parse(answer.body)).server);
    } catch (error) {
        return { state: "unknown", detail: (error as Error).message };
    }
}

/**
 * Statuses of servers (compute API, "Server concepts"). A server of any other status exists, and may serve or not:
 * SHUTOFF, PAUSED or SUSPENDED may be intended, and UNKNOWN means that the host does not report. Consul and the balancers
 * decide whether such a server is lost.
 */
const stateOfStatus: Readonly<Record<string, ControlPlaneState>> = {
    BUILD: "building",
    REBUILD: "building",
    DELETED: "gone",
    SOFT_DELETED: "gone",
    ERROR: "error",
};

/** The control plane's view of a server, from its description. */
export function viewOf(server: NovaServer): ControlPlaneView {
    const state = stateOfStatus[server.status] ?? "active";
    const activeSince = secondsOf(server["OS-SRV-USG:launched_at"]);
    const message = server.fault?.message;
    const task = server["OS-EXT-STS:task_state"];
    const detail = [
        server.status === "ACTIVE" ? undefined : server.status,
        task ? `task ${task}` : undefined,
        state === "error" ? message : undefined,
    ].filter((part) => part);
    return {
        state,
        ...(state === "active" && activeSince !== undefined ? { activeSince } : {}),
        ...(detail.length > 0 ? { detail: detail.join(": ").slice(0, 300) } : {}),
        ...(state === "error" && message !== undefined && isNoRoom(message) ? { noRoom: true } : {}),
    };
}

/** Seconds since 1970. The service returns UTC, with or without a time zone. */
function secondsOf(text: string | null | undefined): number | undefined {
    if (!text) return undefined;
    const milliseconds = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
    return Number.isFinite(milliseconds) ? milliseconds / 1000 : undefined;
}

/** Whether a fault means that the cloud has no room: no host, quota or resources. Another try will not help soon. */
export function isNoRoom(message: string): boolean {
    return /No valid host|NoValidHost|Exceeded maximum number of retries|\bquota\b|OverQuota|Insufficient (compute|resources)/i.test(
        message,
    );
}

/** A server's slot and epoch from its metadata, and its creation time (seconds since 1970); undefined without a slot. */
export function serverInSlot({ id, metadata, created }: NovaServer) {
    const slot = metadata[slotKey];
    if (slot === undefined) return undefined;
    const createdAt = secondsOf(created);
    return { id, slot, epoch: Number(metadata[epochKey]) || 0, ...(createdAt === undefined ? {} : { createdAt }) };
}
