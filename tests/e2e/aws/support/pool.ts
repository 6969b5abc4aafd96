/** What tests see of a deployment: AWS's view through its API, the balancers' views, and the machines themselves. */
import { DescribeAutoScalingGroupsCommand, type Instance } from "@aws-sdk/client-auto-scaling";
import { DescribeInstancesCommand, type Instance as Ec2Instance } from "@aws-sdk/client-ec2";
import { statesAt } from "../../../../clients/balancerStatus";
import { waitFor } from "../../../../lib/wait";
import type { Host } from "../../../hosts/host";
import { runningInstances } from "./cloud";
import type { Environment } from "./environment";

/** A gateway. */
export interface Gateway {
    readonly id: string;
    readonly address: string;
    readonly zone: string;
    readonly host: Host;
    /** When EC2 created it, milliseconds since the epoch. */
    readonly launchedAt: number;
}

/** Deadline for a pool to be complete again on a busy computer, milliseconds: several boots, one after the other. */
const WHOLE_TIMEOUT = 300_000;
const BALANCER_TIMEOUT = 2;

/** The deployment. */
export class Pool {
    /** Addresses of the balancers. */
    balancers: readonly string[] = [];

    constructor(private readonly environment: Environment) {}

    /** The group's instances, without those that AutoScaling is ending. */
    async members(): Promise<Instance[]> {
        const { AutoScalingGroups = [] } = await this.environment.emulator.clients.scaling.send(
            new DescribeAutoScalingGroupsCommand({}),
        );
        const all = AutoScalingGroups.flatMap(({ Instances = [] }) => Instances);
        return all.filter(({ LifecycleState = "" }) => !LifecycleState.startsWith("Terminating"));
    }

    /** The gateways, oldest first. */
    async gateways(): Promise<Gateway[]> {
        const [members, instances] = await Promise.all([this.members(), this.instances()]);
        const found = members.flatMap(({ InstanceId: id = "" }) => {
            const instance = instances.find(({ InstanceId }) => InstanceId === id);
            const host = this.environment.fleet.hostOf(id);
            if (!instance || !host) return [];
            return [
                {
                    id,
                    host,
                    address: instance.PrivateIpAddress ?? "",
                    zone: instance.Placement?.AvailabilityZone ?? "",
                    launchedAt: instance.LaunchTime?.getTime() ?? 0,
                },
            ];
        });
        return found.sort((a, b) => a.launchedAt - b.launchedAt);
    }

    private instances(): Promise<Ec2Instance[]> {
        return runningInstances(this.environment.emulator.clients);
    }

    /** The instance with a name that the deployment gave it, such as `consul-0`. @throws Error if none runs. */
    async fixed(name: string): Promise<{ id: string; zone: string; address: string; host: Host }> {
        const all = await this.instances();
        const found = all.find(({ Tags = [] }) =>
            Tags.some(({ Key, Value }) => Key === "Name" && Value?.endsWith(`-${name}`)),
        );
        const host = found && this.environment.fleet.hostOf(found.InstanceId as string);
        if (!found || !host) throw new Error(`there is no ${name}`);
        return {
            id: found.InstanceId as string,
            zone: found.Placement?.AvailabilityZone as string,
            address: found.PrivateIpAddress as string,
            host,
        };
    }

    /** Addresses of the gateways to which a balancer sends calls. */
    async inRotation(balancer: string): Promise<string[]> {
        const states = await statesAt(`http://${balancer}:9192`, BALANCER_TIMEOUT);
        return [...states].flatMap(([address, state]) => (state === "up" ? [address] : [])).sort();
    }

    /**
     * Waits until AutoScaling has the right number of instances, all of them healthy, and the balancers send calls to
     * exactly these.
     *
     * @param size their number.
     * @param without instances that must not be among them.
     */
    whole(size: number, without: readonly string[] = []): Promise<Gateway[]> {
        return waitFor(
            `a complete pool of ${size}`,
            async () => {
                const members = await this.members();
                const well = members.filter(
                    (each) => each.LifecycleState === "InService" && each.HealthStatus === "Healthy",
                );
                const gateways = await this.gateways();
                const wanted = gateways.map(({ address }) => address).sort();
                if (members.length !== size || well.length !== size || gateways.length !== size) {
                    throw new Error(
                        `${well.length} of ${members.length} are healthy, ${gateways.length} have machines`,
                    );
                }
                const left = gateways.filter(({ id }) => without.includes(id));
                if (left.length > 0) throw new Error(`${left.map(({ id }) => id).join(", ")} should be replaced`);
                for (const balancer of this.balancers) {
                    const used = await this.inRotation(balancer);
                    if (used.join() !== wanted.join()) throw new Error(`${balancer} uses ${used}, there are ${wanted}`);
                }
                return gateways;
            },
            WHOLE_TIMEOUT,
            250,
        );
    }

    /** Whether EC2 has ended an instance. */
    async hasEnded(id: string): Promise<boolean> {
        const { Reservations = [] } = await this.environment.emulator.clients.ec2.send(
            new DescribeInstancesCommand({ InstanceIds: [id] }),
        );
        return Reservations.flatMap(({ Instances = [] }) => Instances).every(
            ({ State }) => State?.Name === "terminated",
        );
    }
}
