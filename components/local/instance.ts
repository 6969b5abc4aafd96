import * as pulumi from "@pulumi/pulumi";
import type { ProcessMachine } from "../../roles/render/process";
import type { Gate } from "../../supervisor/gates";
import { ModuleResource } from "../dynamic/moduleProvider";

/** Type token of {@link LocalInstance}, as it stands in URNs. */
export const instanceType = "pulumi-nodejs:dynamic/gateway:Instance";

/** Arguments of a {@link LocalInstance}. */
export interface LocalInstanceArgs {
    readonly machine: pulumi.Input<ProcessMachine>;
    /** Secrets to choose from: the machine gets those that it names. */
    readonly secrets: pulumi.Input<Readonly<Record<string, string>>>;
    /** `replace`: a change makes a new machine, as on a cloud. `update`: services that changed are restarted in place. */
    readonly onChange: "replace" | "update";
    /** What has to hold after the machine was created, or updated, before the next one is touched. */
    readonly gates: { readonly create: pulumi.Input<readonly Gate[]>; readonly update: pulumi.Input<readonly Gate[]> };
}

/** A machine of this computer: a supervisor and its services on a loopback address of their own. */
export class LocalInstance extends ModuleResource {
    /** The loopback address that stands for the machine. */
    declare readonly address: pulumi.Output<string>;
    /** New for every boot: what a server id is on a cloud. */
    declare readonly incarnation: pulumi.Output<string>;

    constructor(name: string, args: LocalInstanceArgs, opts: pulumi.CustomResourceOptions) {
        const own = pulumi
            .all([args.machine, args.secrets])
            .apply(([machine, secrets]) =>
                Object.fromEntries(machine.secrets.map((secret) => [secret, secrets[secret] ?? ""])),
            );
        super(
            "./components/local/machineProvider.ts",
            "Instance",
            name,
            { ...args, secrets: pulumi.secret(own), name: undefined, address: undefined, incarnation: undefined },
            pulumi.mergeOptions(opts, { additionalSecretOutputs: ["secrets"], deleteBeforeReplace: true }),
        );
    }
}
