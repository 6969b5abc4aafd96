import * as pulumi from "@pulumi/pulumi";
import { statusUrls } from "../../clients/balancerStatus";
import type { ReplacementPolicy } from "../../replacement/core/policy";
import { processLayout, renderProcess } from "../../roles/render/process";
import { replacer } from "../../roles/replacer";
import { machineName } from "../machineNames";
import type { PoolArgs } from "../target";
import type { LocalContext } from "./context";
import { LocalInstance } from "./instance";

/**
 * A machine of this computer that runs the replacement loop on the stack that it is part of.
 *
 * @param pool the name of the pool that it heals.
 */
export function localReplacer(
    target: LocalContext,
    pool: string,
    args: Pick<PoolArgs, "discovery" | "balancers" | "service"> & { readonly policy: ReplacementPolicy },
    parent: pulumi.Resource,
    gateways: readonly pulumi.Resource[],
): LocalInstance {
    const { discovery, balancers, service, policy } = args;
    const { area } = target;
    const layout = processLayout(machineName.replacer, target.addresses.replacer);
    const program = target.files.loopProgram();
    const statusUrl = balancers.stack === "fabio" ? statusUrls.fabio : statusUrls.haproxy;
    const { consul: servers } = discovery;
    const consul = servers
        ? pulumi.all([servers.cluster, servers.api]).apply(([{ caCertificate }, api]) => ({
              caCertificate,
              addresses: api.map((address) => `https://${address}`),
          }))
        : undefined;
    const machine = pulumi.all([consul, balancers.statusPages]).apply(([known, statusPages]) =>
        renderProcess(
            replacer(
                {
                    settings: {
                        target: "local",
                        ...(known ? { consul: { addresses: known.addresses, service: service.name } } : {}),
                        balancers: statusPages.map((page, index) => ({
                            name: machineName.balancer(index),
                            url: statusUrl(page),
                        })),
                        // From the machine's own folder: the machines are its neighbours.
                        machinesDirectory: "..",
                        project: pulumi.getProject(),
                        stack: pulumi.getStack(),
                        slots: { typeSuffix: "gateway:Instance", namePrefix: "gw-", pool },
                        policy,
                    },
                    ...(known ? { access: { caCertificate: known.caCertificate, token: "replacerToken" } } : {}),
                    environment: { GATEWAY_MACHINE: layout.machine },
                    program: { kind: "project", ...program },
                },
                layout,
            ),
            layout,
        ),
    );
    return new LocalInstance(
        `${pool}-replacer`,
        {
            area,
            machine,
            secrets: discovery.secrets,
            onChange: "update",
            gates: { create: [{ kind: "services" }], update: [{ kind: "services" }] },
        },
        { parent, dependsOn: [...gateways] },
    );
}
