/**
 * Names of the machines, which are also the names of their slots and of their nodes in Consul. Token policies match the
 * prefixes.
 */
export const machineName = {
    discovery: (index: number) => `consul-${index}`,
    balancer: (index: number) => `lb-${index}`,
    replacer: "replacer",
    gateway: (index: number) => `gw-${index}`,
} as const;
