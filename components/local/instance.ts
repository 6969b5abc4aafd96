import * as pulumi from "@pulumi/pulumi";
import type { ReadinessCondition } from "../../clients/readiness";
import type { ProcessMachine } from "../../programs/supervisor/description";
import { ModuleResource } from "../dynamic/moduleProvider";

/** Type token of {@link LocalInstance}, as it stands in URNs. */
export const instanceType = "pulumi-nodejs:dynamic/gateway:Instance";

/** Arguments of a {@link LocalInstance}. */
export interface LocalInstanceArgs {
    /** Tells the folder of its target's machines from those of other targets. Absent: the plain folder. */
    readonly area?: string | undefined;
    readonly machine: pulumi.Input<ProcessMachine>;
    /** The deployment's secrets: the machine gets those that it names. */
    readonly secrets: pulumi.Input<Readonly<Record<string, string>>>;
    /** `replace`: a change creates a new machine, as on a cloud. `update`: changed services restart in place. */
    readonly onChange: "replace" | "update";
    /** What must hold after the machine was created or updated, before the next one is touched. */
    readonly gates: {
        readonly create: pulumi.Input<readonly ReadinessCondition[]>;
        readonly update: pulumi.Input<readonly ReadinessCondition[]>;
    };
}

/** A machine of this computer: a supervisor and its services on their own loopback address. */
export class LocalInstance extends ModuleResource {
    /** The machine's loopback address. */
    declare readonly address: pulumi.Output<string>;
    /** New for every boot, like a server's id on a cloud. */
    declare readonly incarnation: pulumi.Output<string>;

    constructor(name: string, args: LocalInstanceArgs, opts: pulumi.CustomResourceOptions) {
        const own = pulumi
            .all([args.machine, args.secrets])
            .apply(([machine, secrets]) =>
                Object.fromEntries(machine.secrets.map((secret) => [secret, secrets[secret] ?? ""])),
            );
        super(
            "local-instance",
            "Instance",
            name,
            { ...args, secrets: pulumi.secret(own), name: undefined, address: undefined, incarnation: undefined },
            pulumi.mergeOptions(opts, { additionalSecretOutputs: ["secrets"], deleteBeforeReplace: true }),
        );
    }
}
