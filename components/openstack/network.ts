import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { OpenstackConfig } from "../config";
import { FIRST_HOST } from "../config/openstack";
import { addressOf, neutronsOwn, type Occupant } from "./addressing";
import { nameOf, tags } from "./naming";
import { allow, emptyGroup } from "./securityGroups";

/** What every machine may call outside: artifacts and packages, names, and the time, without which no certificate is valid. */
const OUTSIDE = [
    { protocol: "tcp", port: 443, description: "artifacts and packages" },
    { protocol: "tcp", port: 80, description: "packages, and the metadata service" },
    { protocol: "udp", port: 53, description: "names" },
    { protocol: "tcp", port: 53, description: "names" },
    { protocol: "udp", port: 123, description: "the time" },
] as const;

/** The network of a deployment: one of its own with a router to the outside, or a given one. */
export class OpenstackNetwork extends pulumi.ComponentResource {
    readonly networkId: pulumi.Input<string>;
    readonly subnetId: pulumi.Input<string>;
    readonly cidr: pulumi.Input<string>;
    private readonly firstHost: number;
    /** What has to be there before a machine can fetch anything, or be reached from outside. */
    readonly routes: readonly pulumi.Resource[];
    /** The group that every machine is in: it stands for "the deployment" in the rules of others. */
    readonly members: openstack.networking.SecGroup;

    /** @param ports further TCP ports outside that every machine may call. */
    constructor(
        name: string,
        { network, externalNetwork = "" }: OpenstackConfig,
        ports: readonly number[],
        provider: openstack.Provider,
    ) {
        super("gateway:openstack:Network", name);
        const child = { parent: this, provider };
        if (network.kind === "own") {
            const made = own(name, network, externalNetwork, child);
            this.networkId = made.network.id;
            this.subnetId = made.subnet.id;
            this.cidr = network.cidr;
            this.firstHost = FIRST_HOST;
            this.routes = [made.way];
        } else {
            const { networkId, subnetId, firstHost } = network;
            this.networkId = networkId;
            this.subnetId = subnetId;
            this.cidr = openstack.networking.getSubnetOutput({ subnetId }, child).apply((subnet) => {
                if (subnet.networkId === networkId) return subnet.cidr;
                throw new pulumi.RunError(
                    `gateway:openstack.network.subnetId: ${subnetId} is in the network ${subnet.networkId}, not in ${networkId}`,
                );
            });
            this.firstHost = firstHost;
            this.routes = [];
        }
        this.members = emptyGroup(
            `${name}-members`,
            "members",
            "All machines of the deployment: what they may call",
            child,
        );
        const known = new Set<number>(OUTSIDE.map(({ port }) => port));
        const more = [...new Set(ports)].filter((port) => !known.has(port));
        for (const traffic of [
            ...OUTSIDE,
            ...more.map((port) => ({ protocol: "tcp" as const, port, description: "artifacts" })),
        ]) {
            const peer = { kind: "cidr", cidr: "0.0.0.0/0" } as const;
            const rule = `${name}-outside-${traffic.port}-${traffic.protocol}`;
            allow(rule, "egress", this.members, { ...traffic, peer }, child);
        }
        this.registerOutputs({ networkId: this.networkId });
    }

    /** The `index`th address of a kind. */
    address(kind: Occupant, index = 0): pulumi.Output<string> {
        return pulumi.output(this.cidr).apply((cidr) => {
            try {
                return addressOf(cidr, this.firstHost, kind, index);
            } catch (error) {
                throw new pulumi.RunError(
                    `gateway:openstack.network: ${(error as Error).message}; allowed: a larger network, or less in pool.size or network.firstHost`,
                );
            }
        });
    }
}

function own(
    name: string,
    { cidr, dnsServers }: { readonly cidr: string; readonly dnsServers: readonly string[] },
    externalNetwork: string,
    child: pulumi.CustomResourceOptions,
) {
    const network = new openstack.networking.Network(
        `${name}-net`,
        {
            name: nameOf("net"),
            description: "Machines of the API gateway's deployment",
            adminStateUp: true,
            // Or anybody in the network could take the address of another machine.
            portSecurityEnabled: true,
            tags: tags(),
        },
        child,
    );
    const subnet = new openstack.networking.Subnet(
        `${name}-subnet`,
        {
            name: nameOf("subnet"),
            networkId: network.id,
            ipVersion: 4,
            cidr,
            // The others are ours to give.
            allocationPools: [neutronsOwn(cidr, FIRST_HOST)],
            dnsNameservers: [...dnsServers],
            tags: tags(),
        },
        child,
    );
    const outside = openstack.networking.getNetworkOutput({ name: externalNetwork, external: true }, child);
    const router = new openstack.networking.Router(
        `${name}-router`,
        { name: nameOf("router"), adminStateUp: true, externalNetworkId: outside.id, tags: tags() },
        child,
    );
    const way = new openstack.networking.RouterInterface(
        `${name}-router`,
        { routerId: router.id, subnetId: subnet.id },
        child,
    );
    return { network, subnet, way };
}
