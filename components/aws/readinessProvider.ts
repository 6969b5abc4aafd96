/** Waits at AWS's API. Runs in the dynamic provider's process; see `../dynamic/moduleProvider.ts`. */
import { randomUUID } from "node:crypto";
import {
    AutoScalingClient,
    DescribeAutoScalingGroupsCommand,
    DescribeInstanceRefreshesCommand,
} from "@aws-sdk/client-auto-scaling";
import { DescribeTargetHealthCommand, ElasticLoadBalancingV2Client } from "@aws-sdk/client-elastic-load-balancing-v2";
import { waitFor } from "../../lib/wait";

/** The conditions as plain values: the provider's inputs. */
export interface ReadinessInputs {
    readonly region: string;
    /** URL of an emulator; empty: AWS itself. */
    readonly endpoint: string;
    /** The target group whose checks decide. */
    readonly targetGroupArn: string;
    readonly wanted:
        | {
              readonly kind: "instance";
              readonly instanceId: string;
              /**
               * Also pass while no other machine of the target group is healthy. The first of several Consul servers
               * can be healthy only once there are others; and where none is, there is no quorum to protect.
               */
              readonly orNobody: boolean;
          }
        /**
         * All instances of a group have the launch template's version and are healthy and in service, and there are
         * enough.
         */
        | { readonly kind: "group"; readonly group: string; readonly version: string; readonly least: number };
    /** How long to wait, seconds. */
    readonly timeoutSeconds: number;
    /** Time between two looks, seconds. Default 2. */
    readonly lookSeconds?: number;
}

/** Statuses of an instance refresh that will not finish. */
const GIVEN_UP = ["Failed", "Cancelled", "RollbackFailed", "RollbackSuccessful"];

/** The roll-out has ended: waiting longer is useless. */
class GivenUp extends Error {}

function clients({ region, endpoint }: ReadinessInputs) {
    const settings = {
        region,
        ...(endpoint === ""
            ? {}
            : // An emulator takes any credentials, and nobody's own should be shown to it.
              { endpoint, credentials: { accessKeyId: "test", secretAccessKey: "test" } }),
    };
    return { balancing: new ElasticLoadBalancingV2Client(settings), scaling: new AutoScalingClient(settings) };
}

async function wellInstances(
    balancing: ElasticLoadBalancingV2Client,
    inputs: ReadinessInputs,
): Promise<Map<string, string>> {
    const { TargetHealthDescriptions = [] } = await balancing.send(
        new DescribeTargetHealthCommand({ TargetGroupArn: inputs.targetGroupArn }),
    );
    return new Map(
        TargetHealthDescriptions.map(({ Target, TargetHealth }) => [
            Target?.Id ?? "",
            TargetHealth?.State ?? "unknown",
        ]),
    );
}

/** Whether the condition holds. @throws Error that says what is missing. */
async function look(inputs: ReadinessInputs, { balancing, scaling }: ReturnType<typeof clients>): Promise<boolean> {
    const states = await wellInstances(balancing, inputs);
    const { wanted } = inputs;
    const missing = (what: string): never => {
        throw new Error(what);
    };
    if (wanted.kind === "instance") {
        const state = states.get(wanted.instanceId) ?? "not registered";
        const others = [...states].filter(([id, other]) => id !== wanted.instanceId && other === "healthy");
        return (
            state === "healthy" ||
            (wanted.orNobody && others.length === 0) ||
            missing(`${wanted.instanceId} is ${state}`)
        );
    }
    const { AutoScalingGroups = [] } = await scaling.send(
        new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [wanted.group] }),
    );
    const refreshes = await scaling.send(
        new DescribeInstanceRefreshesCommand({ AutoScalingGroupName: wanted.group, MaxRecords: 1 }),
    );
    const [refresh] = refreshes.InstanceRefreshes ?? [];
    const instances = AutoScalingGroups[0]?.Instances ?? [];
    const bad = instances.flatMap(({ InstanceId = "", LifecycleState, HealthStatus, LaunchTemplate }) => [
        ...(LaunchTemplate?.Version === wanted.version ? [] : [`${InstanceId} is not replaced yet`]),
        ...(LifecycleState === "InService" && HealthStatus === "Healthy" ? [] : [`${InstanceId} is ${LifecycleState}`]),
        ...(states.get(InstanceId) === "healthy"
            ? []
            : [`${InstanceId} is ${states.get(InstanceId) ?? "not registered"}`]),
    ]);
    if (instances.length >= wanted.least && bad.length === 0) return true;
    if (refresh && GIVEN_UP.includes(refresh.Status ?? "") && bad.some((each) => each.endsWith("not replaced yet"))) {
        throw new GivenUp(
            `the instance refresh of ${wanted.group} ended: ${refresh.Status}; ${refresh.StatusReason ?? ""}`,
        );
    }
    return missing(bad.length > 0 ? bad.join(", ") : `${instances.length} of ${wanted.least} instances`);
}

async function pass(inputs: ReadinessInputs): Promise<void> {
    const api = clients(inputs);
    let givenUp: GivenUp | undefined;
    const what = inputs.wanted.kind === "instance" ? inputs.wanted.instanceId : inputs.wanted.group;
    await waitFor(
        `the health of ${what}`,
        () =>
            look(inputs, api).catch((error: Error) => {
                if (!(error instanceof GivenUp)) throw error;
                givenUp = error;
                return true;
            }),
        inputs.timeoutSeconds * 1000,
        (inputs.lookSeconds ?? 2) * 1000,
    );
    if (givenUp) throw givenUp;
}

/** Waits. */
export async function create(inputs: ReadinessInputs): Promise<{ id: string; outs: ReadinessInputs }> {
    await pass(inputs);
    return { id: randomUUID(), outs: inputs };
}

/** Waits again if the condition changes. A changed deadline is no reason. */
export async function diff(_id: string, olds: ReadinessInputs, news: ReadinessInputs) {
    const key = ({ targetGroupArn, wanted }: ReadinessInputs) =>
        JSON.stringify([targetGroupArn, Object.entries(wanted).sort()]);
    return { changes: key(olds) !== key(news), replaces: [] };
}

/** Once the condition has held, it stays true. */
export async function read(id: string, props: ReadinessInputs) {
    return { id, props };
}

/** Waits for what is wanted now. */
export async function update(
    _id: string,
    _olds: ReadinessInputs,
    news: ReadinessInputs,
): Promise<{ outs: ReadinessInputs }> {
    await pass(news);
    return { outs: news };
}

/** There is nothing to remove. */
async function remove(): Promise<void> {}

export { remove as delete };
