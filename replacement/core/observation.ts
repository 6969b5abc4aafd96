/** What the observers saw at one moment. Plain JSON, so that a journal can be replayed through `decide`. */
import type { BalancerState } from "../../clients/balancerStatus";
import type { InstanceHealth } from "../../clients/consul";

/**
 * A server's state according to the control plane: the cloud's API or, on target `local`, the machines' records.
 * `gone`: no such server exists. `error`: it exists and has failed for good.
 */
export type ControlPlaneState = "active" | "building" | "gone" | "error" | "unknown";

/** The control plane's view of one slot's server. */
export interface ControlPlaneView {
    readonly state: ControlPlaneState;
    /** When it became active, in seconds since 1970, where the control plane reports it. */
    readonly activeSince?: number;
    /** For people: why it is in this state. */
    readonly detail?: string;
    /** It failed because the quota is used up or no host has room. */
    readonly noRoom?: boolean;
}

/**
 * The gateway's health in Consul. `absent`: not registered. `maintenance`: an operator took it out of service. `none`:
 * the deployment has no Consul, and only the balancers' view counts.
 */
export type ConsulState = InstanceHealth | "absent" | "unknown" | "none";

/** One slot of the pool, and how each observer sees its server. */
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

/** Whether an observer could see at all. */
export interface Sight {
    readonly seen: boolean;
    /** Why not. */
    readonly error?: string;
    /** The deployment has no such part, so there is nothing to see or to wait for. */
    readonly none?: true;
}

/** Whether the deployment's state could be read. */
export interface DeploymentSight extends Sight {
    /** The state's version, which every change replaces. Absent when unknown. */
    readonly stateVersion?: string;
}

/** The pause switch: who paused the loop, why, and when (seconds since 1970). */
export interface Pause {
    readonly who: string;
    readonly why: string;
    readonly when: number;
}

/** An operator's request to replace a server without evidence against it. */
export interface ReplaceRequest {
    /** Unique; the answer carries it. */
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
    /** Consul, which counts as seen when it has a leader and answers. */
    readonly consul: Sight;
    readonly controlPlane: Sight;
    /** The pause switch: "unknown" when it could not be read, undefined when the loop is not paused. */
    readonly pause?: Pause | "unknown";
    /** An operator's request. */
    readonly request?: ReplaceRequest;
    /** Seen: no leftover of an earlier run has to be settled first. Undefined: the loop has not searched. */
    readonly leftovers?: Sight;
    readonly slots: readonly SlotObservation[];
}

/** One observer's view of a server. `unknown` speaks neither for nor against it. */
export type Word = "good" | "bad" | "unknown";

/** Consul's view. A warning or maintenance is neither a reason to replace a server nor a sign that it serves. */
export function consulWord(state: ConsulState): Word {
    if (state === "passing") return "good";
    return state === "critical" || state === "absent" ? "bad" : "unknown";
}

/** A balancer's view: whether it sends connections to the server. */
export function balancerWord(state: BalancerState): Word {
    if (state === "up") return "good";
    return state === "unknown" ? "unknown" : "bad";
}

/** Whether the server exists, according to the control plane. */
export function exists(slot: SlotObservation): boolean {
    return slot.controlPlane.state === "active" || slot.controlPlane.state === "building";
}

/** The balancers' combined view: good when at least one says good, bad when some say bad and none says good. */
export function balancersWord(slot: SlotObservation): Word {
    const words = Object.values(slot.balancers).map(balancerWord);
    if (words.includes("good")) return "good";
    return words.includes("bad") ? "bad" : "unknown";
}

/** The registry's view: Consul's or, without Consul, the balancers'. */
export function registryWord(slot: SlotObservation): Word {
    return slot.consul === "none" ? balancersWord(slot) : consulWord(slot.consul);
}

/** Whether the slot's server serves: it passes in Consul, and all balancers that answer (at least one) send it calls. */
export function isServing(slot: SlotObservation): boolean {
    const words = Object.values(slot.balancers).map(balancerWord);
    const balanced = words.length === 0 || words.includes("good");
    return registryWord(slot) === "good" && balanced && !words.includes("bad");
}

/** Whether the server serves and is active at the control plane. */
export function isHealthy(slot: SlotObservation): boolean {
    return slot.controlPlane.state === "active" && isServing(slot);
}

/**
 * Whether an existing server is lost at this moment: Consul and at least `observers` observers say so, and none says
 * that it serves. With fewer observers than that, all of them must say so.
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
