/** What the observers saw at one moment. Plain JSON, so that a journal can be replayed through `decide`. */

/**
 * What the control plane (the cloud's API; on a laptop the machines' records) says of a server. `gone`: there is no
 * such server (any more). `error`: it exists and has failed for good.
 */
export type ControlPlaneState = "active" | "building" | "gone" | "error" | "unknown";

/** The control plane's view of one slot's server. */
export interface ControlPlaneView {
    readonly state: ControlPlaneState;
    /** When it became active, in seconds since 1970, where the control plane tells. */
    readonly activeSince?: number;
    /** For people: why it is in this state. */
    readonly detail?: string;
    /** It failed because the quota is used up, or no host has room. */
    readonly noRoom?: boolean;
}

/**
 * The gateway's health in Consul. `absent`: not registered. `maintenance`: somebody took it out on purpose. `none`: the
 * deployment has no Consul, and the balancers' word alone counts.
 */
export type ConsulState = "passing" | "warning" | "critical" | "maintenance" | "absent" | "unknown" | "none";

/** What a balancer does with the gateway. `absent`: it does not know the address. */
export type BalancerState = "up" | "down" | "drain" | "maint" | "absent" | "unknown";

/** One slot of the pool: a server that the deployment wants, and how it is. */
export interface SlotObservation {
    /** The slot's name, which is also the machine's and its Consul node's. */
    readonly slot: string;
    /** The URN of the slot's resource. */
    readonly urn: string;
    /** The server that fills the slot according to the deployment's state. */
    readonly serverId: string;
    readonly controlPlane: ControlPlaneView;
    readonly consul: ConsulState;
    /** By the balancer's name. */
    readonly balancers: Readonly<Record<string, BalancerState>>;
}

/** Whether something could be seen at all. */
export interface Sight {
    readonly seen: boolean;
    /** Why not. */
    readonly error?: string;
    /** The deployment has none of it, so that there is nothing to be seen, and nothing to wait for. */
    readonly none?: true;
}

/** Whether the deployment's state could be read. */
export interface DeploymentSight extends Sight {
    /** The state's version: it is another one after every change. Absent when it is not known. */
    readonly stateVersion?: string;
}

/** The pause switch: who pressed it, why and when (seconds since 1970). */
export interface Pause {
    readonly who: string;
    readonly why: string;
    readonly when: number;
}

/** An operator's request to replace a server without evidence against it. */
export interface ReplaceRequest {
    /** Unique; the answer bears it. */
    readonly id: string;
    readonly slot: string;
    readonly who: string;
    readonly why: string;
    /** Seconds since 1970. */
    readonly when: number;
}

/** What all observers saw at one moment. */
export interface Observation {
    readonly version: 1;
    /** Seconds since 1970. The only clock that `decide` knows. */
    readonly time: number;
    /** The deployment's state: which servers are wanted. */
    readonly deployment: DeploymentSight;
    /** Consul: seen means that it has a leader and answers. */
    readonly consul: Sight;
    readonly controlPlane: Sight;
    /** The switch; "unknown" when it could not be read, undefined when it is not pressed. */
    readonly pause?: Pause | "unknown";
    /** What an operator asks for. */
    readonly request?: ReplaceRequest;
    /** Seen means that nothing is left of an earlier run that has to be settled first. Undefined: nobody looked. */
    readonly leftovers?: Sight;
    readonly slots: readonly SlotObservation[];
}

/** What one observer's word about a server comes to. `unknown` speaks neither for nor against it. */
export type Word = "good" | "bad" | "unknown";

/** Consul's word. A warning or maintenance is no reason to take a server away, nor a sign that it serves. */
export function consulWord(state: ConsulState): Word {
    if (state === "passing") return "good";
    return state === "critical" || state === "absent" ? "bad" : "unknown";
}

/** A balancer's word: whether it sends connections there. */
export function balancerWord(state: BalancerState): Word {
    if (state === "up") return "good";
    return state === "unknown" ? "unknown" : "bad";
}

/** Whether the server exists, as far as the control plane knows. */
export function exists(slot: SlotObservation): boolean {
    return slot.controlPlane.state === "active" || slot.controlPlane.state === "building";
}

/** The balancers' word, taken together: good when one says so, bad when some say so and none the contrary. */
export function balancersWord(slot: SlotObservation): Word {
    const words = Object.values(slot.balancers).map(balancerWord);
    if (words.includes("good")) return "good";
    return words.includes("bad") ? "bad" : "unknown";
}

/** The word of what knows the gateways: Consul's, or, where there is none, the balancers'. */
export function registryWord(slot: SlotObservation): Word {
    return slot.consul === "none" ? balancersWord(slot) : consulWord(slot.consul);
}

/** Whether the slot's server serves: it passes in Consul, and all balancers that answer (at least one) use it. */
export function isServing(slot: SlotObservation): boolean {
    const words = Object.values(slot.balancers).map(balancerWord);
    const balanced = words.length === 0 || words.includes("good");
    return registryWord(slot) === "good" && balanced && !words.includes("bad");
}

/** Whether it serves, and the control plane knows it. */
export function isHealthy(slot: SlotObservation): boolean {
    return slot.controlPlane.state === "active" && isServing(slot);
}

/**
 * Whether a server that exists is lost at this moment: Consul says so, so many observers do, and none that can see it
 * says the contrary. With fewer observers than asked for, all of them have to.
 */
export function isLost(slot: SlotObservation, observers: number): boolean {
    const consul = slot.consul === "none" ? [] : [consulWord(slot.consul)];
    const words = [...consul, ...Object.values(slot.balancers).map(balancerWord)];
    const bad = words.filter((word) => word === "bad").length;
    return (
        exists(slot) &&
        registryWord(slot) === "bad" &&
        !words.includes("good") &&
        bad >= Math.min(observers, words.length)
    );
}
