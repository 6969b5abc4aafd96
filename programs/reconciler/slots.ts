/** The slots of HAProxy's `server-template`, read from its runtime API. */
import { backendKey } from "./backends";

/** One slot: a server of the template, which holds a backend or is free. */
export interface Slot {
    readonly name: string;
    /** `address:port` that it was last given. */
    readonly key: string;
    /**
     * Its administrative state: `ready` takes new connections (when healthy), `drain` keeps existing ones, `maint` has
     * none and is not checked: it is free.
     */
    readonly admin: "ready" | "drain" | "maint";
    /** Its health by checks: `down` gets no connections, `stopping` no new ones. */
    readonly health: "down" | "starting" | "up" | "stopping";
    /** HAProxy's check counter: 0 down, {@link ReconcilerSettings.fullHealth} when the last check passed. */
    readonly checks: number;
    /** Its connections, including those that wait for it. */
    readonly sessions: number;
    /** The most connections at a time; 0 is unlimited. */
    readonly limit: number;
}

/** Whether a slot gets new connections. */
export function serves(slot: Slot): boolean {
    return slot.admin === "ready" && (slot.health === "up" || slot.health === "starting");
}

/** An answer of HAProxy that is not understood. */
export class RuntimeAnswerError extends Error {
    override readonly name = "RuntimeAnswerError";
}

const HEALTH = ["down", "starting", "up", "stopping"] as const;
/** Bits of `srv_admin_state`: forced, inherited and resolution's maintenance; forced and inherited drain. */
const MAINTENANCE = 0x01 | 0x02 | 0x20;
const DRAIN = 0x08 | 0x10;

/**
 * Reads `show servers state BACKEND` and `show stat BACKEND 4 -1`.
 *
 * @throws RuntimeAnswerError if they are not in the form of HAProxy 2.6 and later.
 */
export function parseSlots(state: string, statistics: string): Slot[] {
    const counts = parseCounts(statistics);
    const [version, heading = "", ...lines] = state.trim().split("\n");
    if (version !== "1" || !heading.startsWith("# ")) {
        throw new RuntimeAnswerError(`unexpected answer to "show servers state": ${(version ?? "").slice(0, 200)}`);
    }
    const columns = heading.slice(2).split(" ");
    return lines.map((line) => {
        const fields = line.split(" ");
        const field = (name: string) => fields[columns.indexOf(name)] ?? "";
        const admin = Number(field("srv_admin_state"));
        const health = HEALTH[Number(field("srv_op_state"))];
        const name = field("srv_name");
        const count = counts.get(name);
        if (!health || count === undefined || !Number.isInteger(admin)) {
            throw new RuntimeAnswerError(`unexpected line in "show servers state": ${line.slice(0, 200)}`);
        }
        return {
            name,
            key: backendKey({ address: field("srv_addr"), port: Number(field("srv_port")) }),
            admin: admin & MAINTENANCE ? "maint" : admin & DRAIN ? "drain" : "ready",
            health,
            checks: Number(field("srv_check_health")),
            ...count,
        };
    });
}

/** Numbers of connections by server, from HAProxy's statistics in CSV. */
function parseCounts(statistics: string): Map<string, Pick<Slot, "sessions" | "limit">> {
    const [heading = "", ...lines] = statistics.trim().split("\n");
    const columns = heading.replace(/^# /, "").split(",");
    if (!["svname", "scur", "qcur", "slim"].every((column) => columns.includes(column))) {
        throw new RuntimeAnswerError(`unexpected answer to "show stat": ${heading.slice(0, 200)}`);
    }
    return new Map(
        lines.map((line) => {
            const fields = line.split(",");
            const field = (name: string) => fields[columns.indexOf(name)] ?? "";
            const sessions = Number(field("scur")) + Number(field("qcur"));
            return [field("svname"), { sessions, limit: Number(field("slim")) }];
        }),
    );
}
