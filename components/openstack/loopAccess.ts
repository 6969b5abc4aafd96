import type * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { OpenstackConfig } from "../../config";
import type { OpenstackContext } from "./context";
import { allow } from "./securityGroups";

/** Lets the machines of the replacement loop out to OpenStack's API and to the storage of the state. */
export function letLoopOut(
    name: string,
    { settings, replacement }: OpenstackContext,
    group: openstack.networking.SecGroup,
    options: pulumi.CustomResourceOptions,
): void {
    if (!replacement || !settings.loop) return;
    for (const port of loopPorts(settings.apiPorts, settings.loop)) {
        allow(
            `${name}-api-${port}`,
            "egress",
            group,
            {
                protocol: "tcp",
                port,
                description: "OpenStack's API and the state",
                peer: { kind: "cidr", cidr: "0.0.0.0/0" },
            },
            options,
        );
    }
}

/** The ports that the loop calls outside. */
export function loopPorts(
    apiPorts: readonly number[],
    { authUrl, stateBackend }: NonNullable<OpenstackConfig["loop"]>,
): number[] {
    const state = new URL(stateBackend).searchParams;
    const endpoint = state.get("endpoint");
    const scheme = state.get("disableSSL") === "true" ? "http" : "https";
    const storage = endpoint === null ? [] : [/^https?:/.test(endpoint) ? endpoint : `${scheme}://${endpoint}`];
    const named = [authUrl, ...storage].map((url) => {
        const { port, protocol } = new URL(url);
        return port === "" ? (protocol === "http:" ? 80 : 443) : Number(port);
    });
    return [...new Set([...apiPorts, ...named])].sort((a, b) => a - b);
}
