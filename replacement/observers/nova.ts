/** OpenStack's compute service as the control plane. */
import { z } from "zod";
import type { Slot } from "../engine";
import type { ControlPlaneState, ControlPlaneView } from "../observation";
import { deploymentKey, epochKey, slotKey } from "../stamp";
import type { ControlPlane } from "./controlPlane";
import type { CloudSession } from "./keystone";
import { said } from "./keystone";

const COMPUTE = ["compute"] as const;

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

/** A server as the compute service describes it, as far as it is used here. */
export type NovaServer = z.infer<typeof serverSchema>;

/** What is found by which, of a deployment's servers. */
export interface NovaOptions {
    /** Name of the deployment (its stack), which the servers bear in their metadata. */
    readonly deployment: string;
    /** Servers of one page. Default 200; the service may give fewer. */
    readonly pageSize?: number;
}

/** Pages of a list before it is taken for endless. */
const MAX_PAGES = 100;

/**
 * All servers of a deployment, by their metadata, page by page.
 *
 * @throws Error when the service does not answer, or not with what is expected.
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
        const { servers, servers_links } = await session.get(COMPUTE, path, pageSchema, signal ? { signal } : {});
        found.push(...servers.filter(({ metadata }) => metadata[deploymentKey] === deployment));
        marker = servers.at(-1)?.id;
        if (marker === undefined || !servers_links.some(({ rel }) => rel === "next")) return found;
    }
    throw new Error(`compute: the list of servers has more than ${MAX_PAGES} pages`);
}

/**
 * Nova as the control plane. One list tells of all servers; one that is not in it is asked for by its id, because a list
 * may be cut, and "gone" is said only of what answers 404.
 */
export function novaControlPlane(session: CloudSession, options: NovaOptions): ControlPlane {
    return {
        async servers(slots, signal) {
            const listed = new Map((await novaServers(session, options, signal)).map((server) => [server.id, server]));
            const views = slots.map(async (slot) => {
                const server = listed.get(slot.serverId);
                return [slot.name, server ? viewOf(server) : await ask(session, slot, signal)] as const;
            });
            return new Map(await Promise.all(views));
        },
    };
}

async function ask(session: CloudSession, { serverId }: Slot, signal: AbortSignal): Promise<ControlPlaneView> {
    try {
        const path = `/servers/${encodeURIComponent(serverId)}`;
        const answer = await session.ask(COMPUTE, path, { signal });
        if (answer.status === 404) return { state: "gone", detail: "404" };
        if (answer.status !== 200) return { state: "unknown", detail: said(answer) };
        return viewOf(z.object({ server: serverSchema }).parse(JSON.parse(answer.body)).server);
    } catch (error) {
        return { state: "unknown", detail: (error as Error).message };
    }
}

/**
 * Statuses of servers (compute API, "Server concepts"). All that are not here exist, and may serve or not: SHUTOFF,
 * PAUSED or SUSPENDED may be somebody's wish, and UNKNOWN means that the host does not report; Consul and the balancers
 * have to say whether such a server is lost.
 */
const states: Readonly<Record<string, ControlPlaneState>> = {
    BUILD: "building",
    REBUILD: "building",
    DELETED: "gone",
    SOFT_DELETED: "gone",
    ERROR: "error",
};

/** What a server's description comes to. */
export function viewOf(server: NovaServer): ControlPlaneView {
    const state = states[server.status] ?? "active";
    const activeSince = launchedAt(server);
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

/** Seconds since 1970; the service gives UTC, with or without saying so. */
function launchedAt(server: NovaServer): number | undefined {
    return seconds(server["OS-SRV-USG:launched_at"]);
}

function seconds(text: string | null | undefined): number | undefined {
    if (!text) return undefined;
    const milliseconds = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
    return Number.isFinite(milliseconds) ? milliseconds / 1000 : undefined;
}

/** Whether a fault says that there is no room: no host, no quota, no free resources; another try will not help soon. */
export function isNoRoom(message: string): boolean {
    return /No valid host|NoValidHost|Exceeded maximum number of retries|\bquota\b|OverQuota|Insufficient (compute|resources)/i.test(
        message,
    );
}

/** The epoch in a server's metadata, the slot, and when it was created (seconds since 1970); undefined without a slot. */
export function stampedServer({ id, metadata, created }: NovaServer) {
    const slot = metadata[slotKey];
    if (slot === undefined) return undefined;
    const createdAt = seconds(created);
    return { id, slot, epoch: Number(metadata[epochKey]) || 0, ...(createdAt === undefined ? {} : { createdAt }) };
}
