import * as openstack from "@pulumi/openstack";
import type * as pulumi from "@pulumi/pulumi";
import type { OpenstackConfig } from "../../config";
import { balancerStatusPort } from "../../roles/loadBalancer/balancer";
import type { OpenstackContext } from "./context";
import { allow } from "./securityGroups";

/** What clients call. */
export interface Frontend {
    readonly address: pulumi.Output<string>;
    /** The port that has the address in the deployment's network, or that of the cloud's load balancer. */
    readonly portId: pulumi.Output<string>;
    /** The cloud's load balancer, where there is one. */
    readonly loadBalancer?: openstack.loadbalancer.LoadBalancer;
}

/** A shared address for clients, held by one balancer at a time. */
export function keepalivedFrontend(
    name: string,
    args: {
        readonly target: OpenstackContext;
        readonly address: pulumi.Output<string>;
        /** The balancers' group; a port without a server needs none, but Neutron would give it its own. */
        readonly group: openstack.networking.SecGroup;
    },
    child: pulumi.CustomResourceOptions,
): Frontend {
    const { network, names } = args.target;
    // No server has this port: it reserves the address, and a floating IP can point to it.
    const port = new openstack.networking.Port(
        `${name}-vip`,
        {
            name: names.nameOf("vip"),
            description: "The clients' address, which one of the balancers has at a time",
            networkId: network.networkId,
            adminStateUp: true,
            fixedIps: [{ subnetId: network.subnetId, ipAddress: args.address }],
            securityGroupIds: [args.group.id],
            tags: names.tags(),
        },
        { ...child, deleteBeforeReplace: true },
    );
    const outside = floatingIp(name, args.target, port.id, child);
    return { address: outside ?? args.address, portId: port.id };
}

/** Checks of the balancers by the cloud's load balancer: seconds, and how many in a row decide. */
const CHECK = { delay: 5, timeout: 3, maxRetries: 2, maxRetriesDown: 2 } as const;
/** Idle time-out of connections, milliseconds: the same as the balancers'. */
const IDLE = 3_600_000;

/** The cloud's load balancer (Octavia) in front of the balancers. */
export function octaviaFrontend(
    name: string,
    args: {
        readonly target: OpenstackContext;
        readonly octavia: Extract<OpenstackConfig["frontend"], { kind: "octavia" }>;
        readonly address: pulumi.Output<string>;
        /** The port that clients call, and that the balancers listen on. */
        readonly port: number;
        readonly balancers: readonly pulumi.Output<string>[];
        /** The balancers' group. */
        readonly group: openstack.networking.SecGroup;
    },
    child: pulumi.CustomResourceOptions,
): Frontend {
    const { target, octavia, port } = args;
    const { network, settings, names } = target;
    allow(
        `${name}-octavia-check`,
        "ingress",
        args.group,
        {
            protocol: "tcp",
            port: balancerStatusPort,
            description: "the cloud's load balancer asks for health",
            peer: { kind: "cidr", cidr: network.cidr },
        },
        child,
    );
    const loadBalancer = new openstack.loadbalancer.LoadBalancer(
        `${name}-octavia`,
        {
            name: names.nameOf("gateway"),
            description: "What clients of the API gateway call",
            vipSubnetId: network.subnetId,
            vipAddress: args.address,
            ...(octavia.provider ? { loadbalancerProvider: octavia.provider } : {}),
            tags: names.tags(),
        },
        { ...child, deleteBeforeReplace: true, dependsOn: [...network.routes] },
    );
    const pool = new openstack.loadbalancer.Pool(
        `${name}-octavia-pool`,
        {
            name: names.nameOf("balancers"),
            loadbalancerId: loadBalancer.id,
            protocol: "TCP",
            lbMethod: "LEAST_CONNECTIONS",
        },
        child,
    );
    const monitor = new openstack.loadbalancer.Monitor(
        `${name}-octavia-check`,
        {
            name: names.nameOf("balancers"),
            poolId: pool.id,
            type: "HTTP",
            urlPath: "/",
            expectedCodes: "200-399",
            ...CHECK,
        },
        child,
    );
    const members = args.balancers.map(
        (address, index) =>
            new openstack.loadbalancer.Member(
                `${name}-octavia-${index}`,
                {
                    name: names.nameOf(`lb-${index}`),
                    poolId: pool.id,
                    address,
                    subnetId: network.subnetId,
                    protocolPort: port,
                    monitorPort: balancerStatusPort,
                },
                { ...child, dependsOn: [monitor] },
            ),
    );
    const { clientCidrs } = settings;
    new openstack.loadbalancer.Listener(
        `${name}-octavia-listener`,
        {
            name: names.nameOf("clients"),
            loadbalancerId: loadBalancer.id,
            protocol: "TCP",
            protocolPort: port,
            defaultPoolId: pool.id,
            // An empty list would admit everybody.
            allowedCidrs: clientCidrs.length > 0 ? [...clientCidrs] : [network.cidr],
            timeoutClientData: IDLE,
            timeoutMemberData: IDLE,
        },
        { ...child, dependsOn: members },
    );
    const outside = floatingIp(name, target, loadBalancer.vipPortId, child);
    return { address: outside ?? loadBalancer.vipAddress, portId: loadBalancer.vipPortId, loadBalancer };
}

/** A floating IP for a port; undefined if none is wanted. */
function floatingIp(
    name: string,
    { settings, network, names }: OpenstackContext,
    portId: pulumi.Input<string>,
    child: pulumi.CustomResourceOptions,
): pulumi.Output<string> | undefined {
    if (!settings.floatingIp || settings.externalNetwork === undefined) return undefined;
    const floating = new openstack.networking.FloatingIp(
        `${name}-floating-ip`,
        {
            pool: settings.externalNetwork,
            description: "What clients of the API gateway call",
            portId,
            tags: names.tags(),
        },
        // Neutron refuses a floating IP for a network without a way out.
        { ...child, dependsOn: [...network.routes] },
    );
    return floating.address;
}
