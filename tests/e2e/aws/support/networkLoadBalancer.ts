/**
 * Stand-in for the data path of network load balancers. Each load balancer in the emulator gets an address in each of
 * its subnets, which forwards TCP to targets that the emulator's checks find healthy.
 *
 * It behaves as AWS documents in everything that the tests check. New connections go to healthy targets: of all zones if
 * cross-zone balancing is on, and to all targets if none is healthy ("fail open"). Connections to a target that becomes
 * unhealthy are reset. Those to a deregistered one last until its delay is over. Flows do not survive on another node,
 * and nodes know of changes without delay.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { DescribeInstancesCommand, DescribeSecurityGroupsCommand, DescribeSubnetsCommand } from "@aws-sdk/client-ec2";
import {
    DescribeListenersCommand,
    DescribeLoadBalancerAttributesCommand,
    DescribeLoadBalancersCommand,
    DescribeTargetHealthCommand,
    type Listener,
    type LoadBalancer,
} from "@aws-sdk/client-elastic-load-balancing-v2";
import { host } from "../../../../components/aws/addressing";
import { parseNetwork } from "../../../../lib/ipv4";
import type { Lab } from "../../../hosts/lab";
import type { Clients } from "./emulator";

/** Milliseconds between two looks at the emulator. */
const EVERY = 250;

/** A registered target. */
interface Target {
    readonly address: string;
    readonly port: number;
    readonly zone: string;
    readonly state: string;
}

/** A load balancer's address in one zone. */
interface Node {
    readonly zone: string;
    readonly address: string;
}

/** One listener of a load balancer, on all of its nodes. */
interface Front {
    readonly servers: readonly Server[];
    crossZone: boolean;
    /** By instance. */
    targets: ReadonlyMap<string, Target>;
    /** Connections, and the instance of each. */
    readonly open: Map<Socket, string>;
}

/** All network load balancers of the emulator. */
export class NetworkLoadBalancerStandIn {
    private readonly fronts = new Map<string, Front>();
    private readonly taken = new Map<string, Node>();
    private readonly stopping = new AbortController();
    private looking: Promise<void> | undefined;

    constructor(
        private readonly lab: Lab,
        private readonly clients: Clients,
        private readonly say: (line: string) => void,
    ) {}

    /** Starts to watch the emulator. Returns at once. */
    start(): void {
        this.looking ??= this.loop();
    }

    /** The load balancer's addresses, by zone, as its DNS name would return them. */
    get nodes(): readonly Node[] {
        return [...this.taken.values()].sort((a, b) => a.zone.localeCompare(b.zone));
    }

    /** Cuts a zone's nodes off: connects to them time out. */
    async cutOff(zone: string): Promise<void> {
        for (const node of this.nodes) if (node.zone === zone) await this.lab.removeAddress(node.address);
    }

    /** Undoes {@link cutOff}. */
    async reconnect(zone: string): Promise<void> {
        for (const node of this.nodes) if (node.zone === zone) await this.lab.addAddress(node.address);
    }

    private async loop(): Promise<void> {
        let trouble = "";
        while (!this.stopping.signal.aborted) {
            try {
                await this.look();
                trouble = "";
            } catch (error) {
                const { message } = error as Error;
                if (message !== trouble) this.say(`the network load balancers stay as they are: ${message}`);
                trouble = message;
            }
            // The signal ended it.
            await delay(EVERY, undefined, { signal: this.stopping.signal }).catch(() => undefined);
        }
    }

    private async look(): Promise<void> {
        const { LoadBalancers = [] } = await this.clients.balancing.send(new DescribeLoadBalancersCommand({}));
        const seen = new Set<string>();
        for (const balancer of LoadBalancers.filter(({ Type }) => Type === "network")) {
            const { LoadBalancerArn } = balancer;
            const { Listeners = [] } = await this.clients.balancing.send(
                new DescribeListenersCommand({ LoadBalancerArn }),
            );
            const open = Listeners.length > 0 ? await this.openPorts(balancer) : new Set();
            // A security group that lets nobody in has the same effect as no listener.
            for (const listener of Listeners.filter(({ Port }) => open.has(Port))) {
                const arn = listener.ListenerArn as string;
                seen.add(arn);
                if (!this.fronts.has(arn)) this.fronts.set(arn, await this.makeFront(balancer, listener));
                await this.update(this.fronts.get(arn) as Front, listener);
            }
        }
        for (const [arn, front] of this.fronts) {
            if (seen.has(arn)) continue;
            close(front);
            this.fronts.delete(arn);
        }
        if (this.fronts.size === 0) {
            for (const { address } of this.taken.values()) await this.lab.removeAddress(address);
            this.taken.clear();
        }
    }

    private async openPorts({ SecurityGroups }: LoadBalancer): Promise<Set<number | undefined>> {
        const { SecurityGroups: groups = [] } = await this.clients.ec2.send(
            new DescribeSecurityGroupsCommand({ GroupIds: SecurityGroups }),
        );
        return new Set(groups.flatMap(({ IpPermissions = [] }) => IpPermissions.map(({ FromPort }) => FromPort)));
    }

    private async makeFront(balancer: LoadBalancer, { Port = 0 }: Listener): Promise<Front> {
        const zones = balancer.AvailabilityZones ?? [];
        const { Subnets = [] } = await this.clients.ec2.send(
            new DescribeSubnetsCommand({ SubnetIds: zones.map(({ SubnetId }) => SubnetId as string) }),
        );
        const { Attributes = [] } = await this.clients.balancing.send(
            new DescribeLoadBalancerAttributesCommand({ LoadBalancerArn: balancer.LoadBalancerArn }),
        );
        const servers: Server[] = [];
        const crossZone = Attributes.some(
            ({ Key, Value }) => Key === "load_balancing.cross_zone.enabled" && Value === "true",
        );
        const front: Front = { servers, crossZone, targets: new Map(), open: new Map() };
        for (const { CidrBlock = "", AvailabilityZone: zone = "" } of Subnets) {
            // The last address that a machine could have, which AutoScaling would take last.
            const address = host(CidrBlock, 2 ** (32 - parseNetwork(CidrBlock).prefix) - 2);
            if (!this.taken.has(address)) {
                await this.lab.addAddress(address);
                this.taken.set(address, { zone, address });
            }
            const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) =>
                forward(front, client, zone),
            );
            await new Promise<void>((done, fail) => server.once("error", fail).listen(Port, address, done));
            servers.push(server);
        }
        this.say(`${balancer.LoadBalancerName} listens on ${this.nodes.map(({ address }) => `${address}:${Port}`)}`);
        return front;
    }

    private async update(front: Front, { DefaultActions }: Listener): Promise<void> {
        const [{ TargetGroupArn } = {}] = DefaultActions ?? [];
        const { TargetHealthDescriptions = [] } = await this.clients.balancing.send(
            new DescribeTargetHealthCommand({ TargetGroupArn }),
        );
        const ids = TargetHealthDescriptions.map(({ Target }) => Target?.Id as string);
        const instances = await this.instances(ids);
        front.targets = new Map(
            TargetHealthDescriptions.flatMap(({ Target, TargetHealth }) => {
                const id = Target?.Id ?? "";
                const where = instances.get(id);
                return where
                    ? [[id, { ...where, port: Target?.Port ?? 0, state: TargetHealth?.State ?? "" }] as const]
                    : [];
            }),
        );
        for (const [client, instance] of front.open) {
            const state = front.targets.get(instance)?.state ?? "gone";
            if (["unhealthy", "gone", "unused"].includes(state)) client.resetAndDestroy();
        }
    }

    private async instances(ids: readonly string[]): Promise<Map<string, { address: string; zone: string }>> {
        if (ids.length === 0) return new Map();
        const { Reservations = [] } = await this.clients.ec2.send(new DescribeInstancesCommand({}));
        return new Map(
            Reservations.flatMap(({ Instances = [] }) => Instances)
                .filter(({ InstanceId = "", PrivateIpAddress }) => ids.includes(InstanceId) && PrivateIpAddress)
                .map(({ InstanceId = "", PrivateIpAddress = "", Placement }) => [
                    InstanceId,
                    { address: PrivateIpAddress, zone: Placement?.AvailabilityZone ?? "" },
                ]),
        );
    }

    /** Closes all. */
    async stop(): Promise<void> {
        this.stopping.abort();
        await this.looking;
        for (const front of this.fronts.values()) close(front);
    }
}

/** Connects a client to a target. */
function forward(front: Front, client: Socket, zone: string): void {
    const registered = [...front.targets].filter(([, { state }]) => state !== "draining");
    const near = front.crossZone ? registered : registered.filter(([, target]) => target.zone === zone);
    const healthy = near.filter(([, { state }]) => state === "healthy");
    const candidates = healthy.length > 0 ? healthy : near;
    const chosen = candidates[Math.floor(Math.random() * candidates.length)];
    client.on("error", () => undefined);
    if (!chosen) {
        client.resetAndDestroy();
        return;
    }
    const [instance, { address, port }] = chosen;
    const server = connect({ host: address, port, noDelay: true, allowHalfOpen: true });
    front.open.set(client, instance);
    server.on("error", () => client.resetAndDestroy());
    client.once("close", () => {
        front.open.delete(client);
        server.destroy();
    });
    server.once("close", () => client.destroy());
    client.pipe(server).pipe(client);
}

function close(front: Front): void {
    for (const server of front.servers) server.close();
    for (const client of front.open.keys()) client.resetAndDestroy();
}
