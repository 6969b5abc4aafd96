/** The settings file of the task that creates Consul's policies and tokens. */

/** One of the tokens that exist from the first boot on, and what it allows. */
export interface BootToken {
    /** Name of the secret that holds the token, and of its policy. */
    readonly secret: string;
    readonly description: string;
    /** Rules in Consul's policy language. Undefined: the token may do nothing until it gets a policy. */
    readonly rules?: string;
}

/** The task's settings. */
export interface AclSettings {
    /** HTTP API of the agent on the same machine. */
    readonly api: string;
    readonly managementToken: string;
    readonly tokens: readonly (BootToken & { readonly accessorId: string; readonly secretId: string })[];
}
