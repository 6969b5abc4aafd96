/** Every target that a stack's configuration can name. A new cloud adds its line to {@link makers}. */
import type * as pulumi from "@pulumi/pulumi";
import type { GatewayConfig, Target as TargetKind } from "../config";
import { AwsTarget } from "./aws/target";
import { LocalTarget } from "./local/target";
import { OpenstackTarget } from "./openstack/target";
import type { ProgramFiles } from "./programFiles";
import type { Target } from "./target";

type Maker = (
    name: string,
    config: GatewayConfig,
    files: ProgramFiles,
    opts?: pulumi.ComponentResourceOptions,
) => Target;

const makers: Readonly<Record<TargetKind, Maker>> = {
    local: LocalTarget.from,
    aws: AwsTarget.from,
    openstack: OpenstackTarget.from,
};

/** A target as a configuration describes it. @param name Default: its kind. @throws pulumi.RunError if something that it needs is missing. */
export function makeTarget(
    kind: TargetKind,
    config: GatewayConfig,
    files: ProgramFiles,
    opts?: pulumi.ComponentResourceOptions,
    name: string = kind,
): Target {
    return makers[kind](name, config, files, opts);
}

export * from "./aws/target";
export * from "./local/target";
export * from "./openstack/target";
