/** What the configuration of the control plane's services is made of. */
import { homedir } from "node:os";
import { join } from "node:path";

/** Where the control plane listens, and how large it is. */
export interface ControlPlaneSettings {
    /** Folder of all its files: configuration, data, logs. Outside the checkout, because it is kept for the next run. */
    readonly directory: string;
    /** Address of its APIs, as machines reach them. Database and message queue listen on 127.0.0.1 only. */
    readonly address: string;
    /** Network namespace (`ip netns`) that it runs in; undefined: this one. */
    readonly namespace?: string | undefined;
    /** How many hypervisors it believes to have. */
    readonly computes: number;
}

/** The settings that the tests use; the folder is `$XDG_CACHE_HOME/gateway-openstack`. */
export function defaultSettings(environment: NodeJS.ProcessEnv = process.env): ControlPlaneSettings {
    return {
        directory: join(environment.XDG_CACHE_HOME || join(homedir(), ".cache"), "gateway-openstack"),
        address: "198.18.0.1",
        computes: 3,
    };
}

/** Ports of the APIs; the usual ones, because the namespace has them to itself. */
export const ports = {
    keystone: 5000,
    nova: 8774,
    novaMetadata: 8775,
    placement: 8778,
    glance: 9292,
    neutron: 9696,
    octavia: 9876,
    database: 13306,
    queue: 15672,
    queueDistribution: 25672,
    portMapper: 14369,
} as const;

/** Passwords of what nobody but the test's own namespace can reach. */
export const passwords = {
    admin: "admin",
    operator: "operator",
    service: "service",
    database: "database",
    /** Of whoever tells nova's metadata service which server asks: on a real cloud neutron's agent. */
    metadata: "metadata",
    /** Of the key with which Octavia signs certificates. */
    certificates: "certificates",
} as const;

/** Names of what the test's operator works with. */
export const names = { project: "gateway", operator: "operator", region: "RegionOne" } as const;
