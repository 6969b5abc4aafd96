/** The emulator as a cloud for the fleet of machines: the instances that should run, with their user data. */
import { DescribeAutoScalingInstancesCommand } from "@aws-sdk/client-auto-scaling";
import { DescribeInstanceAttributeCommand, DescribeInstancesCommand, type Instance } from "@aws-sdk/client-ec2";
import type { Cloud, Instance as FleetInstance } from "../../../hosts/fleet";
import type { Clients } from "./emulator";
import type { MetadataStandIn } from "./metadata";

/**
 * Boots the instances that run according to EC2, with their user data and private addresses. Updates their metadata
 * service with AutoScaling's plans for them.
 */
export function emulatedCloud(clients: Clients, metadata: MetadataStandIn): Cloud {
    const userData = new Map<string, Promise<Buffer>>();
    return {
        instances: async () => {
            const [running, lifecycles] = await Promise.all([runningInstances(clients), lifecycleStates(clients)]);
            return Promise.all(
                running.map(async ({ InstanceId: id = "", PrivateIpAddress: address = "", Placement }) => {
                    const lifecycle = lifecycles.get(id);
                    metadata.tell(address, {
                        "instance-id": id,
                        "local-ipv4": address,
                        "placement/availability-zone": Placement?.AvailabilityZone ?? "",
                        ...(lifecycle ? { "autoscaling/target-lifecycle-state": lifecycle } : {}),
                    });
                    const known = userData.get(id) ?? readUserData(clients, id);
                    userData.set(id, known);
                    return { id, name: id, address, userData: await known, metadataServer: "lab" } as FleetInstance;
                }),
            );
        },
        onGone: ({ address }) => metadata.forget(address),
    };
}

/** All instances that run, as EC2 sees it. */
export async function runningInstances({ ec2 }: Clients): Promise<Instance[]> {
    const filter = { Name: "instance-state-name", Values: ["running"] };
    const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ Filters: [filter] }));
    return Reservations.flatMap(({ Instances = [] }) => Instances);
}

/** The state into which AutoScaling moves each instance of its groups. */
async function lifecycleStates({ scaling }: Clients): Promise<Map<string, string>> {
    const { AutoScalingInstances = [] } = await scaling.send(new DescribeAutoScalingInstancesCommand({}));
    return new Map(
        AutoScalingInstances.map(({ InstanceId = "", LifecycleState = "" }) => [
            InstanceId,
            LifecycleState.startsWith("Terminating") ? "Terminated" : "InService",
        ]),
    );
}

async function readUserData({ ec2 }: Clients, id: string): Promise<Buffer> {
    const { UserData } = await ec2.send(
        new DescribeInstanceAttributeCommand({ InstanceId: id, Attribute: "userData" }),
    );
    return Buffer.from(UserData?.Value ?? "", "base64");
}
