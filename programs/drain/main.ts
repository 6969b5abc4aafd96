/**
 * Drains a gateway before it stops. Deregisters it at the machine's Consul agent, or makes its Serf agent tell the
 * balancers, then waits until no client is connected to it any more. Run as `node drain.cjs SETTINGS`. This also drains
 * a gateway that cannot drain by itself; a gateway that can does the rest on SIGTERM.
 *
 * With `--gone` after it, for a gateway whose process has ended: only deregisters it.
 */
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { SerfClient, type SerfRpcAddress, serfEvent, serfTags } from "../../clients/serf";

/** The argument that says that the gateway's process has ended. */
export const GONE = "--gone";

/** The program's settings. */
export type DrainSettings = (ConsulRegistration | { readonly serf: SerfRpcAddress }) & GatewayAddress;

/** The gateway's registration in Consul. */
export interface ConsulRegistration {
    /** HTTP API of the machine's Consul agent, without a path. */
    readonly api: string;
    readonly serviceId: string;
    /** A token that may write the service. */
    readonly token: string;
}

interface GatewayAddress {
    /** Where the gateway listens. */
    readonly port: number;
    readonly address: string;
    /** Longest time to wait for connections to end, milliseconds; 0 for a gateway that drains by itself. */
    readonly timeout: number;
}

/**
 * How long there must be no connection, milliseconds. Longer than the balancers take to learn of the draining. With
 * Consul: its immediate answer, consul-template's 0.5 s to settle, the reconciler's turn. With Serf the event is
 * faster, but if it gets lost, the tag's change takes up to 3 s.
 */
const QUIET = { consul: 1_500, serf: 3_500 } as const;
const LOOK_EVERY = 100;

function deregister(settings: ConsulRegistration): Promise<void> {
    return new Promise((done, fail) => {
        const url = `${settings.api}/v1/agent/service/deregister/${encodeURIComponent(settings.serviceId)}`;
        const call = request(
            url,
            { method: "PUT", headers: { "X-Consul-Token": settings.token }, timeout: 5_000 },
            (answer) => {
                answer.resume();
                // 404: it is deregistered already.
                if (answer.statusCode === 200 || answer.statusCode === 404) done();
                else fail(new Error(`Consul answers ${answer.statusCode} to the deregistration`));
            },
        );
        call.on("timeout", () => call.destroy(new Error("Consul's agent does not answer")));
        call.on("error", fail);
        call.end();
    });
}

/** Tells the balancers: by a tag, which stays visible, and by an event, which makes them look at once. */
async function sayDraining(rpc: SerfRpcAddress): Promise<void> {
    const client = await SerfClient.connect(rpc);
    try {
        await client.setTags(serfTags.draining);
        await client.sendEvent(serfEvent, "draining");
    } finally {
        client.close();
    }
}

/** Counts the established connections to a port, from the kernel's tables (`proc(5)`; addresses are little-endian). */
export function connections(table: string, port: number, address: string): number {
    const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
    const hexAddress = address
        .split(".")
        .reverse()
        .map((octet) => Number(octet).toString(16).toUpperCase().padStart(2, "0"))
        .join("");
    const ESTABLISHED = "01";
    return table.split("\n").filter((line) => {
        const [, local = "", , state] = line.trim().split(/\s+/);
        // An IPv4 address in the IPv6 table ends with the same eight digits.
        return state === ESTABLISHED && local.endsWith(`${hexAddress}:${hexPort}`);
    }).length;
}

function leave(settings: DrainSettings): Promise<void> {
    return "serf" in settings ? sayDraining(settings.serf) : deregister(settings);
}

async function drain(settings: DrainSettings): Promise<void> {
    const deadline = Date.now() + settings.timeout;
    await leave(settings).catch((error: Error) => console.error(`drain: ${error.message}; waiting anyway`));
    const quiet = "serf" in settings ? QUIET.serf : QUIET.consul;
    let quietSince = Date.now();
    while (Date.now() - quietSince < quiet && Date.now() < deadline) {
        const open = ["/proc/net/tcp", "/proc/net/tcp6"]
            .map((path) => connections(readFileSync(path, "utf8"), settings.port, settings.address))
            .reduce((sum, count) => sum + count, 0);
        if (open > 0) quietSince = Date.now();
        await delay(LOOK_EVERY);
    }
}

if (require.main === module) {
    const [path = "", word] = process.argv.slice(2);
    const settings = JSON.parse(readFileSync(path, "utf8")) as DrainSettings;
    (word === GONE ? leave(settings) : drain(settings)).catch((error: Error) => {
        console.error(`drain: ${error.message}`);
        process.exitCode = 1;
    });
}
