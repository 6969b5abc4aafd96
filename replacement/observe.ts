/** Brings all observers' views together to one observation. */
import type { Clock } from "./clock";
import { type Desk, requestLifetime } from "./desk";
import type { Slot } from "./engine";
import type { BalancerState, ControlPlaneView, Observation, Sight } from "./observation";
import { type BalancerOptions, balancerStates } from "./observers/balancer";
import { type ConsulEntry, type ConsulHttp, consulHealth, consulState } from "./observers/consul";
import type { ControlPlane } from "./observers/controlPlane";
import type { Deployment } from "./observers/deployment";
import type { Store } from "./store";

/** All that is looked at. */
export interface Observers {
    readonly deployment: Deployment;
    readonly controlPlane: ControlPlane;
    /** Undefined where the deployment has none. */
    readonly consul: ConsulHttp | undefined;
    /** The gateway's name in Consul. */
    readonly service: string;
    readonly balancers: readonly BalancerOptions[];
    readonly store: Pick<Store, "pause">;
    /** Where operators ask for replacements; none: nobody can. */
    readonly desk?: Pick<Desk, "request">;
    readonly clock: Clock;
    readonly timeoutSeconds: number;
}

/** Looks once. With `fresh` nothing is taken from what was seen before. Does not throw: what fails is not seen. */
export type Observe = (fresh: boolean) => Promise<Observation>;

/** An {@link Observe} from observers. */
export function observeWith(observers: Observers): Observe {
    return async (fresh) => {
        const [wanted, consul, pause, asked, ...balancers] = await Promise.all([
            tryTo(() => wantedServers(observers, fresh)),
            tryTo(async () => observers.consul && (await consulHealth(observers.consul, observers.service))),
            tryTo(() => observers.store.pause()),
            tryTo(async () => observers.desk?.request()),
            ...observers.balancers.map((balancer) => tryTo(() => balancerStates(balancer, observers.timeoutSeconds))),
        ]);
        const { slots = [], stateVersion, views } = wanted.value ?? {};
        const states = new Map(observers.balancers.map(({ name }, index) => [name, balancers[index]?.value] as const));
        const time = observers.clock.now();
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

interface Attempt<T> {
    readonly value?: T;
    readonly error?: string;
}

async function tryTo<T>(look: () => Promise<T>): Promise<Attempt<T>> {
    try {
        return { value: await look() };
    } catch (error) {
        return { error: (error as Error).message };
    }
}

function sight(error: string | undefined): Sight {
    return error === undefined ? { seen: true } : { seen: false, error };
}

/** How old, in seconds, the list of wanted servers may be: as long as all are there, and when one seems gone. */
const maxAge = { quiet: 60, gone: 3 };

/** The wanted servers and what the control plane says of them. */
async function wantedServers({ deployment, controlPlane, timeoutSeconds }: Observers, fresh: boolean) {
    const look = async (maxAgeSeconds: number) => {
        const pool = await deployment.pool(maxAgeSeconds);
        const ask = () => controlPlane.servers(pool.slots, AbortSignal.timeout(timeoutSeconds * 1000));
        return { ...pool, views: await tryTo(ask) };
    };
    const first = await look(fresh ? 0 : maxAge.quiet);
    const gone = [...(first.views.value ?? [])].some(([, { state }]) => state === "gone");
    // A server that seems gone may have been replaced by somebody else since the state was read.
    return gone && !fresh ? look(maxAge.gone) : first;
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
