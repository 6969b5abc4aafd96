/** What the loop does, and the evidence that it acts on. */

/** Replaces the server of one slot. */
export interface Action {
    readonly kind: "replace";
    readonly slot: string;
    readonly urn: string;
    /** The server to replace. */
    readonly serverId: string;
    readonly evidence: Evidence["kind"];
    readonly reason: string;
}

/**
 * Evidence against a server. Hard: the control plane says that it is gone or failed. Soft: it exists, but Consul and
 * the balancers have lost it. Request: an operator wants it replaced.
 */
export interface Evidence {
    readonly kind: "hard" | "soft" | "request";
    /** Whether the evidence is enough to act. */
    readonly complete: boolean;
    /** Whether it will be enough within half of the policy's `maxGapSeconds`, unless the server recovers. */
    readonly soon: boolean;
    readonly since?: number;
    readonly reason: string;
}
