/** The pool according to the deployment's state. */

/** A slot of the pool. */
export interface Slot {
    /** Its name, which is also the machine's and its Consul node's. */
    readonly name: string;
    readonly urn: string;
    /** The control plane's id of the server that fills it. */
    readonly serverId: string;
    /** Its address at the balancers. */
    readonly address?: string;
}

/** All slots. */
export interface Pool {
    readonly slots: readonly Slot[];
    /** Identifies this version of the state. Default: unknown. */
    readonly stateVersion?: string;
}

/** A creation that began and whose end the state does not record. */
export interface PendingCreate {
    readonly urn: string;
    /** The slot's name; undefined for a resource that is not a slot. */
    readonly slot?: string;
}
