import { waitFor } from "../lib/wait";
import type { BalancerState } from "./balancerStatus";
import { statesAt } from "./balancerStatus";

/**
 * A readiness condition: what must hold before a machine counts as deployed and the rollout continues. Plain data,
 * because it is an input of the provider.
 */
export type ReadinessCondition =
    /** All services of the machine are ready, within 60 seconds unless `timeoutSeconds` says otherwise. */
    | { readonly kind: "services"; readonly except?: readonly string[]; readonly timeoutSeconds?: number }
    /** Every Consul server answers, all name the same leader, and all servers are peers. */
    | { readonly kind: "quorum"; readonly servers: readonly string[] }
    /** Each balancer that answers sends calls to the address, within the same time. At least one must answer. */
    | {
          readonly kind: "rotation";
          readonly balancers: readonly string[];
          readonly address: string;
          readonly timeoutSeconds?: number;
      }
    /** The balancer sends calls to at least one gateway, unless no other balancer does. Status pages identify balancers. */
    | { readonly kind: "serving"; readonly balancer: string; readonly others: readonly string[] };

/** How long to wait for a readiness condition, in milliseconds. */
const TIMEOUT = 60_000;
const ATTEMPT_TIMEOUT = 1_000;

async function fetchText(url: string): Promise<string> {
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
                    leader: JSON.parse(await fetchText(`http://${server}/v1/status/leader`)) as string,
                    peers: JSON.parse(await fetchText(`http://${server}/v1/status/peers`)) as string[],
                })),
            );
            const leader = views[0]?.leader;
            return Boolean(leader) && views.every((v) => v.leader === leader && v.peers.length === servers.length);
        },
        TIMEOUT,
        100,
    );
}

/** Waits until the balancers with these status pages send calls to an address. @param timeout in milliseconds. */
export async function waitForRotation(balancers: readonly string[], address: string, timeout = TIMEOUT): Promise<void> {
    await waitFor(
        `the balancers to send calls to ${address}`,
        async () => {
            const views = await Promise.allSettled(balancers.map(statesOf));
            const answered = views.filter((view) => view.status === "fulfilled").map((view) => view.value);
            if (answered.length === 0) throw new Error("no balancer answers");
            return answered.every((states) => states.get(address) === "up");
        },
        timeout,
        50,
    );
}

/**
 * Waits until a balancer sends calls to a gateway. While no other balancer does either, waits for `grace` milliseconds only.
 */
export async function waitForServing(balancer: string, others: readonly string[], grace = GRACE): Promise<void> {
    const begun = Date.now();
    await waitFor(
        `${balancer} to send calls to a gateway`,
        async () => {
            if (sendsCalls(await statesOf(balancer))) return true;
            if (Date.now() - begun < grace) return false;
            const views = await Promise.allSettled(others.map(statesOf));
            return !views.some((view) => view.status === "fulfilled" && sendsCalls(view.value));
        },
        TIMEOUT,
        50,
    );
}

/** How long to wait for a balancer when no other one serves either, in milliseconds. */
const GRACE = 10_000;

const statesOf = (page: string) => statesAt(page, ATTEMPT_TIMEOUT / 1000);

const sendsCalls = (states: ReadonlyMap<string, BalancerState>) => [...states.values()].includes("up");
