/** Names of the machines: those of their slots, and of their nodes in Consul, whose token policies go by the prefix. */
export const machineName = {
    discovery: (index: number) => `consul-${index}`,
    balancer: (index: number) => `lb-${index}`,
    replacer: "replacer",
    gateway: (index: number) => `gw-${index}`,
} as const;
