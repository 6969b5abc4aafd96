import * as pulumi from "@pulumi/pulumi";
import type { ReadinessCondition } from "../../clients/readiness";
import { READY_SECONDS } from "../../programs/supervisor/machine";
import { localPolicy, resolvePolicy } from "../../replacement/core/policy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { machineName } from "../machineNames";
import { gatewayRole } from "../machineRoles";
import type { PoolArgs, PoolOutputs } from "../target";
import type { LocalContext } from "./context";
import { LocalInstance } from "./instance";
import { localReplacer } from "./replacer";

/** Escape hatch of the pool on target `local`. */
export interface LocalGatewayPool {
    /** The machine of the replacement loop, where there is one. */
    readonly replacer: LocalInstance | undefined;
}

/** Gateways as machines of this computer, each in a slot of its own, and the loop that replaces dead ones. */
export function localGatewayPool(
    target: LocalContext,
    name: string,
    args: PoolArgs,
    parent: pulumi.Resource,
): PoolOutputs<LocalGatewayPool> {
    const { service, discovery, balancers } = args;
    const { addresses, files, area } = target;
    const grace = args.replacement?.bootGraceSeconds ?? 0;
    const patience = grace > READY_SECONDS ? { timeoutSeconds: grace } : {};
    const gateways: LocalInstance[] = [];
    const endpoints: string[] = [];
    for (const index of Array(args.size).keys()) {
        const layout = processLayout(machineName.gateway(index), addresses.gateway(index));
        const endpoint = `${layout.address}:${service.port}`;
        const machine = discovery.registry.apply((registry) =>
            renderProcess(gatewayRole(files, { registry, service, balancers }, layout), layout),
        );
        endpoints.push(endpoint);
        gateways.push(
            new LocalInstance(
                `${name}-${index}`,
                {
                    area,
                    machine,
                    secrets: discovery.secrets,
                    onChange: "replace",
                    // Not deployed until calls arrive; otherwise a roll-out would take the next one too early.
                    gates: {
                        create: balancers.statusPages.apply((pages): ReadinessCondition[] => [
                            { kind: "services", ...patience },
                            { kind: "rotation", balancers: pages, address: layout.address, ...patience },
                        ]),
                        update: [],
                    },
                },
                // One after the other. First the discovery servers need a leader, and the balancers must run.
                { parent, dependsOn: index === 0 ? [discovery, balancers] : gateways.slice(-1) },
            ),
        );
    }
    const replacer =
        args.replacement &&
        localReplacer(
            target,
            name,
            { ...args, policy: resolvePolicy(localPolicy, args.replacement) },
            parent,
            gateways,
        );
    return { endpoints: pulumi.output(endpoints), machines: gateways, resources: { replacer } };
}
