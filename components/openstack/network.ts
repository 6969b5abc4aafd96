import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { OpenstackConfig } from "../../config";
import { FIRST_HOST } from "../../config/openstack";
import { addressOf, neutronsOwn, type Occupant } from "./addressing";
import type { OpenstackNames } from "./naming";
import { allow, emptyGroup } from "./securityGroups";

/**
 * Outside ports that every machine may call: artifacts and packages, names, and time, without which no certificate is
 * valid.
 */
const OUTSIDE = [
    { protocol: "tcp", port: 443, description: "artifacts and packages" },
    { protocol: "tcp", port: 80, description: "packages, and the metadata service" },
    { protocol: "udp", port: 53, description: "names" },
    { protocol: "tcp", port: 53, description: "names" },
    { protocol: "udp", port: 123, description: "the time" },
] as const;

/** Arguments of {@link OpenstackNetwork}. */
export interface OpenstackNetworkArgs {
    readonly settings: OpenstackConfig;
    readonly names: OpenstackNames;
    /** Further TCP ports outside that every machine may call. */
    readonly ports: readonly number[];
}

/** The network of a deployment: one of its own with a router to the outside, or a given one. */
export class OpenstackNetwork extends pulumi.ComponentResource {
    readonly networkId: pulumi.Input<string>;
    readonly subnetId: pulumi.Input<string>;
    readonly cidr: pulumi.Input<string>;
    private readonly firstHost: number;
    /** What must exist before a machine can download anything or be reached from outside. */
    readonly routes: readonly pulumi.Resource[];
    /** The security group of all machines: other groups' rules use it for "the deployment". */
    readonly members: openstack.networking.SecGroup;

    constructor(name: string, args: OpenstackNetworkArgs, opts?: pulumi.ComponentResourceOptions) {
        super("gateway:openstack:Network", name, {}, opts);
        const { settings, names, ports } = args;
        const { network, externalNetwork = "" } = settings;
        const child = { parent: this };
        if (network.kind === "own") {
            const made = own(name, names, network, externalNetwork, child);
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
            names,
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
    { nameOf, tags }: OpenstackNames,
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
            // Otherwise anybody in the network could take the address of another machine.
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
            // We assign the other addresses ourselves.
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
