/** The settings of the control plane's services. */
import { homedir } from "node:os";
import { join } from "node:path";

/** Where the control plane listens, and its size. */
export interface ControlPlaneSettings {
    /**
     * Folder of all its files: configuration, data, logs. It is outside the checkout, because the next run reuses it.
     */
    readonly directory: string;
    /** Address of its APIs, as machines reach them. The database and the message queue listen only on 127.0.0.1. */
    readonly address: string;
    /** Its network namespace (`ip netns`); undefined: that of this process. */
    readonly namespace?: string | undefined;
    /** The number of its fake hypervisors. */
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

/** Ports of the APIs: the usual ones, because nothing else uses the namespace. */
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

/** Passwords of services that are reachable only in the test's namespace. */
export const passwords = {
    admin: "admin",
    operator: "operator",
    service: "service",
    database: "database",
    /**
     * Secret of the proxy that tells nova's metadata service which server asks. On a real cloud, neutron's agent is
     * that proxy.
     */
    metadata: "metadata",
    /** Passphrase of the key with which Octavia signs certificates. */
    certificates: "certificates",
} as const;

/** Names of the resources that the test's operator uses. */
export const names = { project: "gateway", operator: "operator", region: "RegionOne" } as const;
