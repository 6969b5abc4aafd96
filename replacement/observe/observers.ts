/** Combines all observers' views into one observation. */

import { type BalancerOptions, type BalancerState, balancerStates } from "../../clients/balancerStatus";
import { type ConsulEntry, type ConsulHttp, consulHealth } from "../../clients/consul";
import type { Clock } from "../../lib/clock";
import type { ControlPlaneView, Observation, Sight } from "../core/observation";
import type { Slot } from "../core/pool";
import { type OperatorCommands, requestLifetime } from "../operatorCommands";
import type { Store } from "../store";
import { consulState } from "./consul";
import type { ControlPlane } from "./controlPlane";
import type { Deployment } from "./deployment";

/** All observers. */
export interface Observers {
    readonly deployment: Deployment;
    readonly controlPlane: ControlPlane;
    /** Undefined where the deployment has no Consul. */
    readonly consul: ConsulHttp | undefined;
    /** The gateway's name in Consul. */
    readonly service: string;
    readonly balancers: readonly BalancerOptions[];
    readonly store: Pick<Store, "pause">;
    /** Operators' requests. Default: none. */
    readonly commands?: Pick<OperatorCommands, "request">;
    readonly clock: Clock;
    readonly timeoutSeconds: number;
}

/** Observes once. With `fresh` it uses no cached answers. Does not throw: a failing observer sees nothing. */
export type Observe = (fresh: boolean) => Promise<Observation>;

/** An {@link Observe} from observers. */
export function observeWith(observers: Observers): Observe {
    /** Since when, in seconds, there have been gateways that are in no slot of the state. */
    let strangers: ReadonlyMap<string, number> = new Map();
    return async (fresh) => {
        const [first, consul, pause, asked, ...balancers] = await Promise.all([
            tryTo(() => wantedServers(observers, fresh)),
            tryTo(async () => observers.consul && (await consulHealth(observers.consul, observers.service))),
            tryTo(() => observers.store.pause()),
            tryTo(async () => observers.commands?.request()),
            ...observers.balancers.map((balancer) => tryTo(() => balancerStates(balancer, observers.timeoutSeconds))),
        ]);
        const time = observers.clock.now();
        const found = strangersTo(first.value?.slots ?? [], consul.value, balancers);
        strangers = new Map([...found].map((stranger) => [stranger, strangers.get(stranger) ?? time]));
        // Somebody changes the pool, and the state will say so. Rules about most of the pool must not go by its former size.
        const isNews = [...strangers.values()].some((since) => time - since < strangerSeconds);
        // A state that could not be read is not asked for again at once: that would only take longer.
        const wanted =
            first.value && isNews && !fresh
                ? await tryTo(() => wantedServers(observers, false, poolMaxAge.gone))
                : first;
        const { slots = [], stateVersion, views } = wanted.value ?? {};
        const states = new Map(observers.balancers.map(({ name }, index) => [name, balancers[index]?.value] as const));
        const request = asked.value && time - asked.value.when < requestLifetime ? asked.value : undefined;
        const switched = pause.error === undefined ? pause.value : ("unknown" as const);
        return {
            version: 1,
            time,
            deployment: { ...sight(wanted.error), ...(stateVersion === undefined ? {} : { stateVersion }) },
            consul: observers.consul ? sight(consul.error) : { seen: true, none: true },
            controlPlane: sight(views?.error ?? unknownServers(views?.value) ?? (views ? undefined : "not asked")),
            ...(switched === undefined ? {} : { pause: switched }),
            ...(request ? { request } : {}),
            slots: slots.map((slot) => ({
                slot: slot.name,
                urn: slot.urn,
                serverId: slot.serverId,
                controlPlane: views?.value?.get(slot.name) ?? { state: "unknown" },
                consul: !observers.consul ? "none" : consul.value ? consulState(consul.value, slot) : "unknown",
                balancers: Object.fromEntries(
                    [...states].map(([name, known]) => [name, balancerState(slot, known, consul.value)]),
                ),
            })),
        };
    };
}

interface Attempted<T> {
    readonly value?: T;
    readonly error?: string;
}

async function tryTo<T>(look: () => Promise<T>): Promise<Attempted<T>> {
    try {
        return { value: await look() };
    } catch (error) {
        return { error: (error as Error).message };
    }
}

function sight(error: string | undefined): Sight {
    return error === undefined ? { seen: true } : { seen: false, error };
}

/** Highest age of the cached pool, in seconds: while all servers exist, and when one seems gone. */
const poolMaxAge = { quiet: 60, gone: 3 };

/**
 * How long a registered gateway that is in no slot makes the state be read more often, in seconds. The state tells of a new
 * machine once it serves; one that nobody tells of for so long is not the deployment's.
 */
const strangerSeconds = 900;

/** The wanted servers, and the control plane's view of them. @param quiet the highest age of the pool, in seconds. */
async function wantedServers(
    { deployment, controlPlane, timeoutSeconds }: Observers,
    fresh: boolean,
    quiet = poolMaxAge.quiet,
) {
    const look = async (maxAgeSeconds: number) => {
        const pool = await deployment.pool(maxAgeSeconds);
        const ask = () => controlPlane.servers(pool.slots, AbortSignal.timeout(timeoutSeconds * 1000));
        return { ...pool, views: await tryTo(ask) };
    };
    const first = await look(fresh ? 0 : quiet);
    const gone = [...(first.views.value ?? [])].some(([, { state }]) => state === "gone");
    // A server that seems gone may have been replaced by somebody else since the state was read.
    return gone && !fresh ? look(poolMaxAge.gone) : first;
}

/**
 * Gateways that no slot holds: registered in Consul under another name, or by another server of a slot's name. Without Consul:
 * addresses to which a balancer sends calls.
 */
function strangersTo(
    slots: readonly Slot[],
    consul: readonly ConsulEntry[] | undefined,
    balancers: readonly Attempted<ReadonlyMap<string, BalancerState>>[],
): Set<string> {
    if (consul) {
        const isKnown = ({ node, incarnation }: ConsulEntry) =>
            slots.some(({ name, serverId }) => name === node && (incarnation ?? serverId) === serverId);
        const unknown = consul.filter((entry) => !isKnown(entry));
        return new Set(unknown.map(({ node, incarnation = "" }) => `${node} ${incarnation}`));
    }
    const used = balancers.flatMap(({ value = [] }) =>
        [...value].flatMap(([at, state]) => (state === "up" ? [at] : [])),
    );
    return new Set(used.filter((at) => slots.every(({ address }) => address !== undefined && address !== at)));
}

function unknownServers(views: ReadonlyMap<string, ControlPlaneView> | undefined): string | undefined {
    const unknown = [...(views ?? [])].filter(([, { state }]) => state === "unknown");
    return unknown.length === 0 ? undefined : unknown.map(([name, { detail }]) => `${name}: ${detail}`).join("; ");
}

function balancerState(
    slot: Slot,
    states: ReadonlyMap<string, BalancerState> | undefined,
    consul: readonly ConsulEntry[] | undefined,
): BalancerState {
    const address = slot.address ?? consul?.find(({ node }) => node === slot.name)?.address;
    if (!states || address === undefined) return "unknown";
    return states.get(address) ?? "absent";
}
