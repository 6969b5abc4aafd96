/** Reads what balancers report: HAProxy's status page as CSV, Fabio's routes as JSON. */
import { z } from "zod";
import { request } from "../lib/http";

/** A balancer to ask. */
export interface BalancerOptions {
    readonly name: string;
    /**
     * HAProxy's status page as CSV, such as `http://10.0.0.21:9192/;csv`, with addresses (`stats show-legends`), or
     * Fabio's routes, such as `http://10.0.0.21:9192/api/routes`.
     */
    readonly url: string;
}

const ROUTES = "/api/routes";

/** The URL to read, from the address of a balancer's status page. */
export const statusUrls = {
    haproxy: (page: string) => `${page}/;csv`,
    fabio: (page: string) => `${page}${ROUTES}`,
} as const;

/** The name of HAProxy's backend. */
export const defaultBackend = "gateways";

/**
 * The state of each server of a balancer's backend, by address. Of two rows with the same address the better counts: the
 * other one is about to be cleared.
 *
 * @throws Error when the balancer does not answer, or answers something unexpected.
 */
export async function balancerStates(
    balancer: BalancerOptions,
    timeoutSeconds: number,
    backend = defaultBackend,
): Promise<Map<string, BalancerState>> {
    const answer = await request({ url: balancer.url, timeoutSeconds });
    if (answer.status !== 200) throw new Error(`${balancer.name}: the status page answers ${answer.status}`);
    return balancer.url.endsWith(ROUTES)
        ? parseFabioRoutes(answer.body, balancer.name)
        : parseHaproxyStatus(answer.body, backend, balancer.name);
}

/**
 * As {@link balancerStates}, for a balancer whose software is unknown or about to change.
 *
 * @param page the address of its status page, without a slash at the end.
 */
export async function statesAt(page: string, timeoutSeconds: number): Promise<Map<string, BalancerState>> {
    const ask = (url: string) => balancerStates({ name: page, url }, timeoutSeconds);
    return ask(statusUrls.haproxy(page)).catch(() => ask(statusUrls.fabio(page)));
}

const routesSchema = z.array(z.object({ src: z.string(), dst: z.string() })).nullable();

/**
 * Parses Fabio's routes. Each server with a TCP route is up; Fabio does not know others. It repeats what Consul says and
 * makes no checks of its own. `name` is for messages.
 */
export function parseFabioRoutes(json: string, name: string): Map<string, BalancerState> {
    const routes = routesSchema.safeParse(JSON.parse(json));
    if (!routes.success) throw new Error(`${name}: these are not Fabio's routes`);
    const tcp = (routes.data ?? []).filter(({ dst }) => dst.startsWith("tcp://"));
    return new Map(tcp.map(({ dst }) => [new URL(dst).hostname.replace(/^\[|\]$/g, ""), "up"]));
}

/** Parses HAProxy's status page as CSV. `name` is for messages. */
export function parseHaproxyStatus(csv: string, backend: string, name: string): Map<string, BalancerState> {
    const [header, ...rows] = csv.split("\n").filter((line) => line !== "");
    const columns = (header ?? "").replace(/^# /, "").split(",");
    const at = (column: string) => {
        const index = columns.indexOf(column);
        if (index < 0) throw new Error(`${name}: the status page has no column "${column}"`);
        return index;
    };
    const [pxname, svname, status, addr] = [at("pxname"), at("svname"), at("status"), at("addr")];
    const servers = rows
        .map(splitCsvLine)
        .filter((row) => row[pxname] === backend && !["FRONTEND", "BACKEND"].includes(row[svname] ?? ""));
    if (!rows.some((row) => row.startsWith(`${backend},`)))
        throw new Error(`${name}: there is no backend "${backend}"`);
    if (servers.length > 0 && servers.every((row) => !row[addr])) {
        throw new Error(`${name}: the status page does not show addresses (stats show-legends)`);
    }
    const states = new Map<string, BalancerState>();
    for (const row of servers) {
        const address = (row[addr] ?? "").replace(/:\d+$/, "");
        const state = parseServerStatus(row[status] ?? "");
        const known = states.get(address);
        if (known === undefined || bestStateFirst.indexOf(state) < bestStateFirst.indexOf(known))
            states.set(address, state);
    }
    return states;
}

const bestStateFirst: readonly BalancerState[] = ["up", "drain", "down", "maint", "unknown"];

/** Splits a line of CSV. Fields in double quotes may contain commas. */
function splitCsvLine(line: string): string[] {
    return (line.match(/(?:"(?:[^"]|"")*"|[^,]*)(?:,|$)/g) ?? []).map((field) =>
        field.replace(/,$/, "").replace(/^"|"$/g, ""),
    );
}

/** Parses HAProxy's statuses, such as `UP`, `UP 1/2` (going down), `DOWN (agent)`, `NOLB`, `DRAIN`, `MAINT (resolution)`. */
function parseServerStatus(status: string): BalancerState {
    if (status.startsWith("UP")) return "up";
    if (status.startsWith("DOWN")) return "down";
    if (status.startsWith("NOLB") || status.startsWith("DRAIN")) return "drain";
    return status.startsWith("MAINT") ? "maint" : "unknown";
}

/** A gateway's state at a balancer. `absent`: the balancer does not know the address. */
export type BalancerState = "up" | "down" | "drain" | "maint" | "absent" | "unknown";
