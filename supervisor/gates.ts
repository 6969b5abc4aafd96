import type { BalancerState } from "../replacement/observation";
import { statesAt } from "../replacement/observers/balancer";
import { waitFor } from "./wait";

/**
 * What has to hold before a machine counts as deployed, and so before the next one is touched. Data, because it
 * travels to the provider as an input.
 */
export type Gate =
    /** All services of the machine are ready. */
    | { readonly kind: "services"; readonly except?: readonly string[] }
    /** Every Consul server answers, all name the same leader, and all are its peers. */
    | { readonly kind: "quorum"; readonly servers: readonly string[] }
    /** Each balancer that answers sends calls to the address; at least one has to answer. */
    | { readonly kind: "rotation"; readonly balancers: readonly string[]; readonly address: string }
    /** The balancer sends calls to at least one gateway, unless no other balancer does either. Named by status pages. */
    | { readonly kind: "serving"; readonly balancer: string; readonly others: readonly string[] };

/** How long a gate may stay shut, milliseconds. */
const TIMEOUT = 60_000;
const ATTEMPT_TIMEOUT = 1_000;

async function text(url: string): Promise<string> {
    const response = await fetch(url, { signal: AbortSignal.timeout(ATTEMPT_TIMEOUT) });
    if (!response.ok) throw new Error(`${url} answers ${response.status}`);
    return response.text();
}

/** Waits for the quorum of Consul servers at these HTTP API addresses (`host:port`). */
export async function waitForQuorum(servers: readonly string[]): Promise<void> {
    await waitFor(
        `a leader that all of ${servers.join(", ")} follow`,
        async () => {
            const views = await Promise.all(
                servers.map(async (server) => ({
                    leader: JSON.parse(await text(`http://${server}/v1/status/leader`)) as string,
                    peers: JSON.parse(await text(`http://${server}/v1/status/peers`)) as string[],
                })),
            );
            const leader = views[0]?.leader;
            return Boolean(leader) && views.every((v) => v.leader === leader && v.peers.length === servers.length);
        },
        TIMEOUT,
        100,
    );
}

/** Waits until the balancers with these status pages send calls to an address. */
export async function waitForRotation(balancers: readonly string[], address: string): Promise<void> {
    await waitFor(
        `the balancers to send calls to ${address}`,
        async () => {
            const views = await Promise.allSettled(balancers.map(statesOf));
            const answered = views.filter((view) => view.status === "fulfilled").map((view) => view.value);
            if (answered.length === 0) throw new Error("no balancer answers");
            return answered.every((states) => states.get(address) === "up");
        },
        TIMEOUT,
        50,
    );
}

/**
 * Waits until a balancer sends calls somewhere; when no other balancer does either, for `grace` milliseconds only.
 */
export async function waitForServing(balancer: string, others: readonly string[], grace = GRACE): Promise<void> {
    const begun = Date.now();
    await waitFor(
        `${balancer} to send calls to a gateway`,
        async () => {
            if (serves(await statesOf(balancer))) return true;
            if (Date.now() - begun < grace) return false;
            const views = await Promise.allSettled(others.map(statesOf));
            return !views.some((view) => view.status === "fulfilled" && serves(view.value));
        },
        TIMEOUT,
        50,
    );
}

/** How long a balancer has to serve where no other does, milliseconds. */
const GRACE = 10_000;

const statesOf = (page: string) => statesAt(page, ATTEMPT_TIMEOUT / 1000);

const serves = (states: ReadonlyMap<string, BalancerState>) => [...states.values()].includes("up");
